/** `POST /containers/:id/attach`: the container's own streams, from its first byte when it was asked for in time. */
import { queryFlag, type Route } from '#libs/docker-api';
import { isEnxameError } from '#libs/model';
import { existingContainer } from './container-lookup.js';
import type { ContainerRouteDependencies } from './dependencies.js';
import { parseDetachKeys } from './detach-keys.js';
import { drained, frameLines } from './log-frames.js';
import { letHeadArrive } from './slow-heads.js';
import { bridge } from './stream-bridge.js';

export function attachRoute({ runtime, log }: ContainerRouteDependencies): Route {
  return {
    method: 'POST',
    path: '/containers/:id/attach',
    async handler(request, response) {
      const { query } = request;
      const { config } = existingContainer(runtime, request.params['id']);
      const detachKeys = query.get('detachKeys') ?? '';
      parseDetachKeys(detachKeys);
      const stdin = queryFlag(query, 'stdin') && config.openStdin;
      const stdout = queryFlag(query, 'stdout');
      const stderr = queryFlag(query, 'stderr');
      // Asked before the client can go on, so that a start right behind it finds this waiting.
      const attaching = queryFlag(query, 'stream')
        ? runtime.attach(config.id, { stdin, signal: request.signal })
        : undefined;
      attaching?.catch((error: unknown) => {
        if (!isEnxameError(error)) log(error, `attach to container ${config.id}`);
      });
      const connection = response.hijack(
        config.tty ? 'application/vnd.docker.raw-stream' : 'application/vnd.docker.multiplexed-stream',
      );
      connection.on('error', () => connection.destroy());
      if (queryFlag(query, 'logs')) await letHeadArrive(request);
      if (queryFlag(query, 'logs')) {
        for await (const lines of runtime.logs(config.id, { follow: false, stdout, stderr })) {
          const bytes = frameLines(lines, config.tty);
          if (!connection.write(bytes)) await drained(connection, request.signal);
        }
      }
      if (attaching === undefined) {
        connection.end();
        return;
      }
      try {
        const attachment = await attaching;
        await bridge({
          connection,
          process: attachment,
          tty: config.tty,
          stdin,
          stdout: stdout || config.tty,
          stderr,
          detachKeys,
        });
        attachment.close();
      } catch (error) {
        // The head is out: all that is left to say is that there is nothing more.
        connection.destroy();
        if (!isEnxameError(error)) throw error;
      }
    },
  };
}
