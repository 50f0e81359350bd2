/** Calls of another node's engine port, with this manager's certificate. */
import { connectTo, type ProxyTarget } from '#libs/docker-api';
import { EnxameError, type NodeId } from '#libs/model';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import type { EngineDirectory } from '../edge/providers.js';

const connectWaitMs = 3_000;
const answerWaitMs = 10_000;
const answerBytesMax = 4 * 1024 * 1024;

export class EngineClient {
  readonly #directory: EngineDirectory;

  constructor(directory: EngineDirectory) {
    this.#directory = directory;
  }

  /** How to reach a node's engine port; the TLS name check makes sure that it is that node. */
  target(nodeId: NodeId): ProxyTarget {
    const address = this.#directory.engineAddress(nodeId);
    if (address === undefined) throw new EnxameError('unavailable', `node ${nodeId} is not connected`);
    const { keyPem, certificatePem, rootCertificatePem } = this.#directory.tls();
    return {
      ...address,
      tls: { ca: rootCertificatePem, cert: certificatePem, key: keyPem, servername: nodeId },
    };
  }

  /** Sends a GET and gives the answer's stream once its head is there. */
  async open(nodeId: NodeId, path: string, signal: AbortSignal): Promise<IncomingMessage> {
    return this.#send(nodeId, 'GET', path, undefined, signal);
  }

  /** A call whose answer is one small JSON document. */
  async call(
    nodeId: NodeId,
    method: string,
    path: string,
    body: unknown,
    signal: AbortSignal,
  ): Promise<{ status: number; body: unknown }> {
    const answer = await this.#send(nodeId, method, path, body, signal);
    const text = await readAll(answer);
    try {
      return { status: answer.statusCode ?? 500, body: text === '' ? undefined : JSON.parse(text) };
    } catch (error) {
      throw new EnxameError('unavailable', `node ${nodeId} answered something that is no JSON`, {
        cause: error,
      });
    }
  }

  async #send(
    nodeId: NodeId,
    method: string,
    path: string,
    body: unknown,
    signal: AbortSignal,
  ): Promise<IncomingMessage> {
    const connection = await connectTo(this.target(nodeId), connectWaitMs);
    const payload = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
    return new Promise((resolve, reject) => {
      const call = httpRequest({
        method,
        path,
        createConnection: () => connection,
        signal,
        headers: {
          host: 'api.moby.localhost',
          ...(payload === undefined
            ? {}
            : { 'content-type': 'application/json', 'content-length': payload.length }),
        },
      });
      const deadline = setTimeout(
        () => call.destroy(new Error(`no answer in ${answerWaitMs} ms`)),
        answerWaitMs,
      );
      call.once('response', (answer) => {
        clearTimeout(deadline);
        resolve(answer);
      });
      call.on('error', (error) => {
        clearTimeout(deadline);
        reject(new EnxameError('unavailable', `node ${nodeId}: ${error.message}`, { cause: error }));
      });
      call.end(payload);
    });
  }
}

async function readAll(answer: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > answerBytesMax)
      throw new EnxameError('unavailable', `an answer is over ${answerBytesMax} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
