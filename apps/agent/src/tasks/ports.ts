/** What a task needs of its node. */
import type { ImageStore, PeerSource } from '#libs/images';
import type { ServiceId, TaskId, TaskStatusReport } from '#libs/model';
import type { NodeNetwork } from '#libs/network';
import type { ContainerRuntime } from '#libs/runtime';
import type { Log } from '#libs/log';
import type { TaskNode } from './container-config.js';
import type { FindPayload } from './payload-files.js';
import type { TaskRecord } from './task-records.js';

export interface TaskVolumes {
  /** Makes the volume when it is not there. Resolves with its folder. */
  ensure(volume: { name: string; labels: Record<string, string>; anonymous: boolean }): Promise<string>;
  /** Removes it when it is there. */
  remove(name: string): Promise<void>;
}

export interface TaskPorts {
  node: TaskNode;
  runtime: Pick<ContainerRuntime, 'create' | 'run' | 'stop' | 'remove' | 'get'>;
  images: Pick<ImageStore, 'find' | 'pull' | 'rootLayers'>;
  network: Pick<NodeNetwork, 'interfacesFor' | 'nameservers' | 'withdraw' | 'activeConnections'>;
  volumes: TaskVolumes;
  /** A secret or config that a task of this node refers to, as the leader told it. */
  payload: FindPayload;
  /** Other nodes that hold an image. Empty when the leader cannot be asked. */
  peersFor(reference: string): Promise<PeerSource[]>;
  /** Resolves when the kernel has the newest network program this node has been given so far. Never rejects. */
  networkSettled(): Promise<void>;
  /** True when clients may hold connections to the service's tasks. */
  isBalanced(serviceId: ServiceId): boolean;
  records: { save(record: TaskRecord): void; remove(taskId: TaskId): void };
  /** `isStep`: nobody waits for it, and the next one comes soon. */
  report(report: TaskStatusReport, isStep: boolean): void;
  /** The task's container and record are gone. */
  gone(taskId: TaskId): void;
  nowMs(): number;
  log: Log;
}
