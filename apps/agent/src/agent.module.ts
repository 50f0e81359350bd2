/** NestJS holds the running agent: its end follows the application's. */
import {
  Module,
  type DynamicModule,
  type INestApplicationContext,
  type OnApplicationShutdown,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { NodeAgent } from './node-agent.js';

/** Stops the agent with the application context. */
class AgentLifecycle implements OnApplicationShutdown {
  readonly #agent: NodeAgent;

  constructor(agent: NodeAgent) {
    this.#agent = agent;
  }

  onApplicationShutdown(): Promise<void> {
    return this.#agent.stop();
  }
}

@Module({})
class AgentModule {
  static around(agent: NodeAgent): DynamicModule {
    return {
      module: AgentModule,
      providers: [
        { provide: NodeAgent, useValue: agent },
        {
          provide: AgentLifecycle,
          useFactory: (running: NodeAgent) => new AgentLifecycle(running),
          inject: [NodeAgent],
        },
      ],
    };
  }
}

export function createApplication(agent: NodeAgent): Promise<INestApplicationContext> {
  return NestFactory.createApplicationContext(AgentModule.around(agent), {
    logger: false,
    abortOnError: false,
  });
}
