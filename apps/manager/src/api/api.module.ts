/** The controllers and what they are given. */
import type { IdSource } from '#libs/model';
import { Module, type DynamicModule } from '@nestjs/common';
import {
  clockToken,
  configToken,
  idSourceToken,
  leadershipToken,
  randomToken,
  storeToken,
  type ApiDependencies,
} from './edge/providers.js';
import { SelfNode } from './edge/self-node.js';
import { NetworksController } from './networks/networks.controller.js';
import { NodesController } from './nodes/nodes.controller.js';
import { ConfigsController, SecretsController } from './payloads/payloads.controller.js';
import { ServiceWriter } from './services/service-writer.js';
import { ServicesController } from './services/services.controller.js';
import { SwarmController } from './swarm/swarm.controller.js';
import { TasksController } from './tasks/tasks.controller.js';

@Module({})
export class ApiModule {
  static with(deps: ApiDependencies): DynamicModule {
    const newId: IdSource = deps.newId;
    return {
      module: ApiModule,
      controllers: [
        ServicesController,
        TasksController,
        NodesController,
        SwarmController,
        NetworksController,
        SecretsController,
        ConfigsController,
      ],
      providers: [
        { provide: storeToken, useValue: deps.store },
        { provide: configToken, useValue: deps.config },
        { provide: clockToken, useValue: deps.clock },
        { provide: idSourceToken, useValue: newId },
        { provide: randomToken, useValue: deps.randomBytes },
        { provide: leadershipToken, useValue: deps.leadership },
        SelfNode,
        ServiceWriter,
      ],
    };
  }
}
