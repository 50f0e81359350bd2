/**
 * The last status of every task of this node, on disk: after a restart the agent knows which tasks it had already
 * finished with or refused, also when it was cut off from the leader. One small file per task, replaced atomically.
 */
import type { Log } from '#libs/log';
import { taskStateOrder, type TaskId, type TaskStatus } from '#libs/model';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface TaskRecord {
  taskId: TaskId;
  status: TaskStatus;
}

export class TaskRecords {
  readonly #folder: string;
  readonly #log: Log;

  constructor(options: { stateDir: string; log: Log }) {
    this.#folder = join(options.stateDir, 'tasks');
    this.#log = options.log;
  }

  /** Reads all records. A damaged one is left out and told of: its task is judged by its container. */
  load(): TaskRecord[] {
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    const records: TaskRecord[] = [];
    for (const name of readdirSync(this.#folder)) {
      const file = join(this.#folder, name);
      if (!name.endsWith('.json')) {
        rmSync(file, { force: true });
        continue;
      }
      try {
        records.push(JSON.parse(readFileSync(file, 'utf8')) as TaskRecord);
      } catch (error) {
        this.#log('warn', 'task record cannot be read', { file, error });
        rmSync(file, { force: true });
      }
    }
    return records;
  }

  /**
   * On its way to running a task is what its container says it is, so nothing is written then. A failed write is told
   * of and does not stop the task: the record only serves the next start.
   */
  save(record: TaskRecord): void {
    if (taskStateOrder[record.status.state] < taskStateOrder.running) return;
    const file = join(this.#folder, `${record.taskId}.json`);
    try {
      writeFileSync(`${file}.new`, JSON.stringify(record), { mode: 0o600 });
      renameSync(`${file}.new`, file);
    } catch (error) {
      this.#log('warn', 'task record cannot be written', { file, error });
    }
  }

  remove(taskId: TaskId): void {
    rmSync(join(this.#folder, `${taskId}.json`), { force: true });
  }
}
