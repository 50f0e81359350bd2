/** `POST /containers/:id/attach` and its web socket: the container's own streams, from the first byte when in time. */
import { exchangeOf, queryFlag, type ApiRequest, type Route } from '#libs/docker-api';
import { EnxameError, isEnxameError } from '#libs/model';
import type { ContainerConfig } from '#libs/runtime';
import type { Duplex } from 'node:stream';
import { existingContainer } from './container-lookup.js';
import type { ContainerRouteDependencies } from './dependencies.js';
import { parseDetachKeys } from './detach-keys.js';
import { drained, frameLines } from './log-frames.js';
import { letHeadArrive } from './slow-heads.js';
import { bridge } from './stream-bridge.js';
import { acceptHead, WebSocketStream } from './web-socket.js';

export function attachRoutes(deps: ContainerRouteDependencies): Route[] {
  return [
    {
      method: 'POST',
      path: '/containers/:id/attach',
      async handler(request, response) {
        const config = attachable(deps, request);
        await attach(deps, request, config, () =>
          response.hijack(
            config.tty ? 'application/vnd.docker.raw-stream' : 'application/vnd.docker.multiplexed-stream',
          ),
        );
      },
    },
    {
      method: 'GET',
      path: '/containers/:id/attach/ws',
      async handler(request) {
        const config = attachable(deps, request);
        const key = request.headers['sec-websocket-key'];
        if (typeof key !== 'string')
          throw new EnxameError('invalid-argument', 'not a web socket: Sec-WebSocket-Key is missing');
        await attach(
          deps,
          request,
          config,
          () => {
            const connection = exchangeOf(request).takeConnection();
            connection.write(acceptHead(key));
            return new WebSocketStream(connection);
          },
          { raw: true },
        );
      },
    },
  ];
}

function attachable({ runtime }: ContainerRouteDependencies, request: ApiRequest): ContainerConfig {
  const { config, paused, restarting } = existingContainer(runtime, request.params['id']);
  parseDetachKeys(request.query.get('detachKeys') ?? '');
  if (paused) {
    throw new EnxameError(
      'conflict',
      `container ${request.params['id']} is paused, unpause the container before attach`,
    );
  }
  if (restarting) {
    throw new EnxameError(
      'conflict',
      `container ${request.params['id']} is restarting, wait until the container is running`,
    );
  }
  return config;
}

async function attach(
  deps: ContainerRouteDependencies,
  request: ApiRequest,
  config: ContainerConfig,
  take: () => Duplex,
  options: { raw: boolean } = { raw: false },
): Promise<void> {
  const { runtime, log } = deps;
  const { query } = request;
  const notify = (action: string): void => deps.notify({ type: 'container', action, id: config.id });
  const stdin = queryFlag(query, 'stdin') && config.openStdin;
  const stdout = queryFlag(query, 'stdout');
  const stderr = queryFlag(query, 'stderr');
  const tty = config.tty || options.raw;
  // Asked before the client can go on, so that a start right behind it finds this waiting.
  const attaching = queryFlag(query, 'stream')
    ? runtime.attach(config.id, { stdin, signal: request.signal })
    : undefined;
  attaching?.catch((error: unknown) => {
    if (!isEnxameError(error)) log(error, `attach to container ${config.id}`);
  });
  const connection = take();
  connection.on('error', () => connection.destroy());
  notify('attach');
  if (queryFlag(query, 'logs')) {
    await letHeadArrive(request);
    for await (const lines of runtime.logs(config.id, { follow: false, stdout, stderr })) {
      if (!connection.write(frameLines(lines, tty))) await drained(connection, request.signal);
    }
  }
  if (attaching === undefined) {
    connection.end();
    return;
  }
  try {
    const attachment = await attaching;
    const outcome = await bridge({
      connection,
      process: attachment,
      framed: !tty,
      detachable: tty,
      stdin,
      stdout: stdout || config.tty,
      stderr,
      detachKeys: query.get('detachKeys') ?? '',
    });
    attachment.close();
    if (outcome === 'left') notify('detach');
  } catch (error) {
    // The head is out: all that is left to say is that there is nothing more.
    connection.destroy();
    if (!isEnxameError(error)) throw error;
  }
}
