/** The Docker API as the benches call it. */
import { request } from 'node:http';

/** A call of the Docker API over the socket, without the CLI's own time. */
export function call<T>(socketPath: string, method: string, path: string, body?: unknown): Promise<T> {
  return new Promise((resolve, reject) => {
    const payload = body === undefined ? undefined : JSON.stringify(body);
    const sent = request(
      {
        socketPath,
        method,
        path,
        headers: {
          host: 'docker',
          ...(payload
            ? { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) }
            : {}),
        },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString();
          if ((response.statusCode ?? 500) >= 400)
            reject(new Error(`${method} ${path}: ${response.statusCode} ${text}`));
          else if (/json/.test(response.headers['content-type'] ?? '')) resolve(JSON.parse(text) as T);
          else resolve(undefined as T);
        });
      },
    );
    sent.on('error', reject);
    sent.end(payload);
  });
}
