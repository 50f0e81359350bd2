/** `/tasks`. */
import type { ClusterStore, NodeId } from '#libs/model';
import { Controller, Get, Inject, Param, Query } from '@nestjs/common';
import { findTask } from '../edge/lookup.js';
import { SelfNode } from '../edge/self-node.js';
import { storeToken } from '../edge/providers.js';
import { listTasks } from './task-filters.js';
import { presentTask } from './task.presenter.js';

@Controller('tasks')
export class TasksController {
  constructor(
    @Inject(storeToken) private readonly store: ClusterStore,
    private readonly self: SelfNode,
  ) {}

  @Get()
  list(@Query('filters') filters: string | undefined): unknown {
    const view = this.store.view();
    const self: NodeId | undefined = this.self.idIn(view);
    return listTasks(view, filters, self).map((task) => presentTask(view, task));
  }

  @Get(':id')
  inspect(@Param('id') id: string): unknown {
    const view = this.store.view();
    return presentTask(view, findTask(view, id));
  }
}
