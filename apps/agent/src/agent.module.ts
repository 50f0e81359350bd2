/** NestJS wires the agent: the parts made in main.ts go in, and its life follows the application's. */
import {
  Module,
  type DynamicModule,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
} from '@nestjs/common';
import { NodeAgent, type NodeAgentOptions } from './node-agent.js';

/** Starts and stops the agent with the application context. */
class AgentLifecycle implements OnApplicationBootstrap, OnApplicationShutdown {
  readonly #agent: NodeAgent;

  constructor(agent: NodeAgent) {
    this.#agent = agent;
  }

  onApplicationBootstrap(): Promise<void> {
    return this.#agent.start();
  }

  onApplicationShutdown(): Promise<void> {
    return this.#agent.stop();
  }
}

@Module({})
export class AgentModule {
  static forNode(options: NodeAgentOptions): DynamicModule {
    return {
      module: AgentModule,
      providers: [
        { provide: NodeAgent, useFactory: () => new NodeAgent(options) },
        {
          provide: AgentLifecycle,
          useFactory: (agent: NodeAgent) => new AgentLifecycle(agent),
          inject: [NodeAgent],
        },
      ],
    };
  }
}
