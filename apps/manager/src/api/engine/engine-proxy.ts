/**
 * Engine routes of a container that runs on another node: passed to that node's engine port as they are, taken-over
 * connections included. So `docker exec` and `docker logs` work on any container of the cluster from any manager.
 */
import { proxyTo, readJson, type Exchange } from '#libs/docker-api';
import { EnxameError, type ClusterStore, type ClusterView, type NodeId, type Task } from '#libs/model';
import { taskName } from '../tasks/task-filters.js';
import type { EngineClient } from './engine-client.js';

const containerPath = /^\/containers\/([^/]+)(\/.*)?$/;
const execPath = /^\/exec\/([^/]+)\//;
const execsRememberedMax = 10_000;
const idPrefixLengthMin = 4;

export class EngineProxy {
  readonly #store: ClusterStore;
  readonly #client: EngineClient;
  /** Which node an exec was made on; those made before this process started are looked for. */
  readonly #execNodes = new Map<string, NodeId>();

  constructor(store: ClusterStore, client: EngineClient) {
    this.#store = store;
    this.#client = client;
  }

  /** Answers what belongs to a node's engine; false for all else. */
  async answer(exchange: Exchange): Promise<boolean> {
    const exec = execPath.exec(exchange.path)?.[1];
    if (exec !== undefined) {
      await this.#passExec(exchange, decodeURIComponent(exec));
      return true;
    }
    const match = containerPath.exec(exchange.path);
    if (match?.[1] === undefined) return false;
    await this.#passContainer(exchange, decodeURIComponent(match[1]), match[2] ?? '');
    return true;
  }

  async #passContainer(exchange: Exchange, reference: string, verb: string): Promise<void> {
    const { nodeId, containerId } = findContainer(this.#store.view(), reference);
    const target = this.#client.target(nodeId);
    const path = `/containers/${containerId}${verb}${queryOf(exchange)}`;
    if (verb === '/exec' && exchange.request.method === 'POST') {
      await this.#createExec(exchange, nodeId, path);
      return;
    }
    await proxyTo(target, exchange, { path });
  }

  /** The answer is read on its way, since the exec's id is all that its later requests carry. */
  async #createExec(exchange: Exchange, nodeId: NodeId, path: string): Promise<void> {
    const body = await readJson(exchange.body, exchange.request.headers['content-length']);
    const answer = await this.#client.call(nodeId, 'POST', path, body, exchange.signal);
    const id = (answer.body as { Id?: unknown } | undefined)?.Id;
    if (typeof id === 'string') this.#rememberExec(id, nodeId);
    const text = Buffer.from(JSON.stringify(answer.body ?? {}));
    exchange.response.writeHead(answer.status, {
      'Content-Type': 'application/json',
      'Content-Length': text.length,
    });
    exchange.response.end(text);
  }

  #rememberExec(id: string, nodeId: NodeId): void {
    this.#execNodes.set(id, nodeId);
    if (this.#execNodes.size <= execsRememberedMax) return;
    const [oldest] = this.#execNodes.keys();
    if (oldest !== undefined) this.#execNodes.delete(oldest);
  }

  async #passExec(exchange: Exchange, id: string): Promise<void> {
    const nodeId = this.#execNodes.get(id) ?? (await this.#findExec(id, exchange.signal));
    if (nodeId === undefined) throw new EnxameError('not-found', `No such exec instance: ${id}`);
    await proxyTo(this.#client.target(nodeId), exchange, { path: `${exchange.path}${queryOf(exchange)}` });
  }

  async #findExec(id: string, signal: AbortSignal): Promise<NodeId | undefined> {
    const path = `/exec/${encodeURIComponent(id)}/json`;
    const asked = [...this.#store.view().nodes.all()].map(async (node): Promise<NodeId | undefined> => {
      try {
        const answer = await this.#client.call(node.id, 'GET', path, undefined, signal);
        return answer.status === 200 ? node.id : undefined;
      } catch (error) {
        // A node that cannot be asked does not have it, as far as can be known now.
        if (error instanceof EnxameError) return undefined;
        throw error;
      }
    });
    return (await Promise.all(asked)).find((nodeId) => nodeId !== undefined);
  }
}

/**
 * By container id or its beginning, or by the name that task and container share. A task's id is none of a container:
 * `docker inspect` asks for a container first and would never come to the task.
 */
export function findContainer(view: ClusterView, reference: string): { nodeId: NodeId; containerId: string } {
  const found: Readonly<Task>[] = [];
  for (const task of view.tasks.all()) {
    const id = task.status.container?.id;
    if (id === undefined || task.nodeId === undefined) continue;
    if (id === reference || taskName(view, task) === reference) {
      return { nodeId: task.nodeId, containerId: id };
    }
    if (reference.length >= idPrefixLengthMin && id.startsWith(reference)) found.push(task);
  }
  const [first] = found;
  if (first?.nodeId === undefined || first.status.container === undefined) {
    throw new EnxameError('not-found', `No such container: ${reference}`);
  }
  if (found.length > 1) {
    throw new EnxameError('invalid-argument', `Multiple IDs found with provided prefix: ${reference}`);
  }
  return { nodeId: first.nodeId, containerId: first.status.container.id };
}

function queryOf(exchange: Exchange): string {
  const text = exchange.query.toString();
  return text === '' ? '' : `?${text}`;
}
