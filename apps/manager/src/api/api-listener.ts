/**
 * The manager's private HTTP server on a unix socket. Streams, take-overs and the engines of other nodes are answered
 * by the Docker API router; everything else by the controllers, through Fastify.
 */
import { createApiServer, type Exchange, type Route } from '#libs/docker-api';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { NestFactory } from '@nestjs/core';
import type { FastifyReply } from 'fastify';
import { chmodSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { createConnection } from 'node:net';
import { ApiModule } from './api.module.js';
import { ErrorFilter } from './edge/error.filter.js';
import type { ApiDependencies } from './edge/providers.js';
import { EngineClient } from './engine/engine-client.js';
import { EngineProxy } from './engine/engine-proxy.js';
import { streamRoutes } from './stream-routes.js';
import { EnxameError } from '#libs/model';

const pathParameterLengthMax = 1_024;
const socketMode = 0o600;
const privatePrefix = '/_enxame/';

export interface ApiListener {
  /** Opens the socket. */
  listen(socketPath: string): Promise<void>;
  close(): Promise<void>;
}

/** `routes` are further private ones, such as the agent's certificate. */
export async function createApiListener(deps: ApiDependencies, routes: Route[] = []): Promise<ApiListener> {
  const app = await createApplication(deps);
  const fastify = app.getHttpAdapter().getInstance();
  const client = new EngineClient(deps.engines);
  const engines = new EngineProxy(deps.store, client);

  const api = createApiServer({
    routes: [...streamRoutes(deps, client), ...routes],
    log: (error, what) => deps.log('error', 'request failed', { request: what, error }),
    before: async ({ path }) => {
      // Whatever is answered is answered from a state that no acknowledged write is missing in.
      if (!path.startsWith(privatePrefix)) await deps.leadership.current();
      return false;
    },
    fallback: async (exchange) => {
      if (await engines.answer(exchange)) return true;
      if (exchange.upgrade) return false;
      passToControllers(exchange);
      return true;
    },
  });

  /** The controllers know no version prefix. */
  function passToControllers(exchange: Exchange): void {
    const query = exchange.query.toString();
    exchange.request.url = query === '' ? exchange.path : `${exchange.path}?${query}`;
    fastify.routing(exchange.request, exchange.response);
  }

  const server = createServer();
  api.attach(server);
  return {
    listen: (socketPath) => listen(server, socketPath),
    async close() {
      await api.close();
      await app.close();
    },
  };
}

async function createApplication(deps: ApiDependencies): Promise<NestFastifyApplication> {
  const adapter = new FastifyAdapter({ routerOptions: { maxParamLength: pathParameterLengthMax } });
  const app = await NestFactory.create<NestFastifyApplication>(ApiModule.with(deps), adapter, {
    logger: false,
    abortOnError: false,
    bodyParser: false,
  });
  const fastify = app.getHttpAdapter().getInstance();
  // Docker's clients send bodies with and without a content type; the body pipe reads them itself.
  fastify.removeAllContentTypeParsers();
  fastify.addContentTypeParser(
    '*',
    (_request: unknown, body: unknown, done: (error: null, body: unknown) => void) => done(null, body),
  );
  // Docker's Go client compares the whole header before it reads an error's message.
  fastify.addHook('onSend', async (_request: unknown, reply: FastifyReply, payload: unknown) => {
    if (String(reply.getHeader('content-type')).startsWith('application/json')) {
      reply.header('content-type', 'application/json');
    }
    return payload;
  });
  app.useGlobalFilters(new ErrorFilter(deps.log));
  await app.init();
  await fastify.ready();
  return app;
}

async function listen(server: Server, socketPath: string): Promise<void> {
  if (await answers(socketPath)) {
    throw new EnxameError('conflict', `another manager is listening at ${socketPath}`);
  }
  rmSync(socketPath, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    const mask = process.umask(0o177);
    server.listen(socketPath, () => {
      server.off('error', reject);
      resolve();
    });
    process.umask(mask);
  });
  chmodSync(socketPath, socketMode);
}

function answers(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createConnection(socketPath);
    probe.once('connect', () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', () => resolve(false));
  });
}
