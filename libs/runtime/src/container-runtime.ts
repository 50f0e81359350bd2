/** The container runtime of a node: our own launcher and shims behind the port. */
import { EnxameError, type ContainerId } from '#libs/model';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { killAll, prepareParent, removeCgroups } from './cgroup/cgroup-files.js';
import { cgroupDirectories } from './cgroup/cgroup-plan.js';
import { takeSample } from './container/container-cgroup.js';
import { ContainerDisk, type ContainerRecord } from './container/container-record.js';
import { Container } from './container/container.js';
import type { RootView } from './container/held-root.js';
import type { ContainerWorld } from './container/container-world.js';
import { readNode, type Node } from './container/node-facts.js';
import { forEachLimited } from './container/turns.js';
import { isDiskFull, isMissing } from './files/errno.js';
import { noHealth } from './health/health-state.js';
import { createLauncherClient, type LauncherClient } from './launcher/client.js';
import { readLog } from './logs/log-reader.js';
import type { ContainerRuntimeOptions } from './options.js';
import type {
  ContainerAttachment,
  ContainerChange,
  ContainerConfig,
  ContainerExit,
  ContainerRuntime,
  ContainerState,
  ContainerStats,
  ExecConfig,
  ExecSession,
  LogLine,
  LogQuery,
  RunOptions,
  RuntimeEvent,
  StopOptions,
} from './port.js';
import { VolumeMounts } from './volumes/volume-mounts.js';

const adoptionsAtOnce = 64;
const containersMax = 10_000;
const idPattern = /^[0-9a-f]{64}$/;
const namePattern = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;
const nameLengthMax = 255;

export function createContainerRuntime(options: ContainerRuntimeOptions): ContainerRuntime {
  return new ShimRuntime(options);
}

class ShimRuntime implements ContainerRuntime {
  readonly #options: ContainerRuntimeOptions;
  readonly #disk: ContainerDisk;
  readonly #launcher: LauncherClient;
  readonly #volumeMounts = new VolumeMounts((error, what) => this.#log(error, what));
  readonly #containers = new Map<ContainerId, Container>();
  /** Names in use or being taken. */
  readonly #names = new Map<string, ContainerId>();
  readonly #listeners = new Set<(event: RuntimeEvent) => void>();
  #node: Node | undefined;
  #cpuset: { mems?: string; cpus?: string } = {};
  #mayRestart = false;

  constructor(options: ContainerRuntimeOptions) {
    this.#options = options;
    this.#disk = new ContainerDisk(options, (path) => this.#launcher.remove(path));
    this.#launcher = createLauncherClient({
      binaryPath: options.launcherPath,
      socketPath: join(options.runDir, 'launcher.sock'),
      logPath: join(options.stateDir, 'launcher.log'),
      ...(options.launcherCommandPrefix === undefined
        ? {}
        : { commandPrefix: options.launcherCommandPrefix }),
    });
  }

  async start(): Promise<void> {
    await mkdir(this.#options.stateDir, { recursive: true });
    await mkdir(this.#options.runDir, { recursive: true });
    await this.#disk.prepare();
    const node = await readNode();
    this.#node = node;
    const parent = await prepareParent(node.cgroups, this.#options.cgroupParent);
    this.#cpuset = {
      ...(parent.cpusetMems === undefined ? {} : { mems: parent.cpusetMems }),
      ...(parent.cpusetCpus === undefined ? {} : { cpus: parent.cpusetCpus }),
    };
    await this.#launcher.connect();
    const records: ContainerRecord[] = [];
    await forEachLimited(await this.#disk.ids(), adoptionsAtOnce, async (id) => {
      const record = await this.#loadRecord(id);
      if (record !== undefined) records.push(record);
    });
    for (const record of records.sort((a, b) => a.config.createdAtMs - b.config.createdAtMs))
      this.#add(record);
    await forEachLimited([...this.#containers.values()], adoptionsAtOnce, async (container) => {
      try {
        await container.adopt();
      } catch (error) {
        this.#log(error, `take over container ${container.id}`);
      }
    });
    await this.#volumeMounts.sweep([...this.#containers.values()].flatMap(({ config }) => config.mounts));
    await this.#removeStrayCgroups(node);
  }

  async resume(): Promise<void> {
    this.#mayRestart = true;
    for (const container of this.#containers.values()) container.resume();
  }

  async #loadRecord(id: ContainerId): Promise<ContainerRecord | undefined> {
    try {
      const record = await this.#disk.load(id);
      // Its creation was never acknowledged.
      if (record === undefined) await this.#disk.remove(id);
      return record;
    } catch (error) {
      // Whatever it is, its files stay for whoever can read them.
      this.#log(error, `read the record of container ${id}`);
      return undefined;
    }
  }

  /** Of containers that are gone: an agent was killed between removing one and its cgroup. */
  async #removeStrayCgroups(node: Node): Promise<void> {
    const parent = this.#options.cgroupParent;
    for (const folder of cgroupDirectories(node.cgroups, parent, '')) {
      for (const name of await namesIn(folder)) {
        if (!idPattern.test(name) || this.#containers.has(name as ContainerId)) continue;
        try {
          await killAll(node.cgroups, parent, name);
          await removeCgroups(node.cgroups, parent, name, (delayMs) => this.#sleep(delayMs));
        } catch (error) {
          this.#log(error, `remove the cgroups of container ${name}, which is gone`);
        }
      }
    }
  }

  async close(): Promise<void> {
    this.#disk.isClosed = true;
    const released = [...this.#containers.values()].map((container) => container.release());
    this.#launcher.close();
    await Promise.all([...released, this.#disk.settled()]);
  }

  async shutDown(): Promise<void> {
    await this.#launcher.shutdown();
    await this.close();
  }

  async create(config: ContainerConfig): Promise<ContainerState> {
    checkConfig(config);
    if (this.#containers.size >= containersMax) {
      throw new EnxameError(
        'resource-exhausted',
        `this node has ${containersMax} containers, as many as it takes`,
      );
    }
    if (this.#containers.has(config.id)) throw nameInUse(config.name, config.id);
    this.#takeName(config.name, config.id);
    const record: ContainerRecord = {
      format: 1,
      config,
      phase: 'created',
      launching: false,
      health: noHealth,
    };
    try {
      await this.#disk.make(record);
    } catch (error) {
      this.#names.delete(config.name);
      await this.#disk
        .remove(config.id)
        .catch((inner: unknown) => this.#log(inner, `undo container ${config.id}`));
      if (!isDiskFull(error)) throw error;
      throw new EnxameError('resource-exhausted', 'no space left for another container', { cause: error });
    }
    const container = this.#add(record);
    this.#emit({ type: 'create', id: config.id, atMs: this.#options.clock.nowMs() });
    return container.state();
  }

  #takeName(name: string, id: ContainerId): void {
    checkName(name);
    const owner = this.#names.get(name);
    if (owner !== undefined) throw nameInUse(name, owner);
    this.#names.set(name, id);
  }

  #add(record: ContainerRecord): Container {
    const container = new Container(this.#world(), record);
    this.#names.set(record.config.name, container.id);
    this.#containers.set(container.id, container);
    return container;
  }

  #world(): ContainerWorld {
    const { clock, cgroupParent } = this.#options;
    return {
      disk: this.#disk,
      launcher: this.#launcher,
      volumeMounts: this.#volumeMounts,
      clock,
      cgroupParent,
      node: () => this.#startedNode(),
      cpuset: () => this.#cpuset,
      mayRestart: () => this.#mayRestart,
      peer: (id) => this.get(id),
      emit: (event) => this.#emit(event),
      log: (error, what) => this.#log(error, what),
    };
  }

  #startedNode(): Node {
    if (this.#node === undefined) throw new Error('the runtime has not been started');
    return this.#node;
  }

  run(id: ContainerId, options: RunOptions = {}): Promise<ContainerState> {
    return this.#find(id).run(options);
  }

  stop(id: ContainerId, options: StopOptions = {}): Promise<ContainerExit> {
    if (options.nodeGoesDown === true) this.#mayRestart = false;
    return this.#find(id).stop(options);
  }

  restart(id: ContainerId, options: StopOptions = {}): Promise<void> {
    return this.#find(id).restart(options);
  }

  async kill(id: ContainerId, signal: string): Promise<void> {
    await this.#find(id).kill(signal);
  }

  pause(id: ContainerId): Promise<void> {
    return this.#find(id).pause();
  }

  unpause(id: ContainerId): Promise<void> {
    return this.#find(id).unpause();
  }

  async rename(id: ContainerId, name: string): Promise<void> {
    const container = this.#find(id);
    const oldName = container.config.name;
    this.#takeName(name, id);
    try {
      await container.rename(name);
    } catch (error) {
      this.#names.delete(name);
      throw error;
    }
    this.#names.delete(oldName);
  }

  update(id: ContainerId, change: ContainerChange): Promise<void> {
    return this.#find(id).update(change);
  }

  wait(id: ContainerId): Promise<ContainerExit> {
    return this.#find(id).wait();
  }

  async remove(id: ContainerId): Promise<void> {
    const container = this.#find(id);
    await container.remove();
    this.#containers.delete(id);
    this.#names.delete(container.config.name);
  }

  get(id: ContainerId): ContainerState | undefined {
    return this.#containers.get(id)?.state();
  }

  list(): readonly ContainerState[] {
    return [...this.#containers.values()].map((container) => container.state());
  }

  exec(id: ContainerId, config: ExecConfig): Promise<ExecSession> {
    return this.#find(id).exec(config);
  }

  attach(id: ContainerId, options: { stdin: boolean; signal?: AbortSignal }): Promise<ContainerAttachment> {
    return this.#find(id).attach(options);
  }

  resize(id: ContainerId, size: { rows: number; columns: number }): Promise<void> {
    return this.#find(id).resize(size);
  }

  logs(id: ContainerId, query: LogQuery): AsyncIterable<readonly LogLine[]> {
    const container = this.#find(id);
    return readLog(
      {
        path: container.paths.logFile,
        clock: this.#options.clock,
        isWritten: () => container.isRunning,
        onEnd: (listener) => container.onEnd(listener),
      },
      query,
    );
  }

  stats(id: ContainerId): Promise<ContainerStats> {
    return this.#find(id).stats();
  }

  sample(id: ContainerId): ReturnType<ContainerRuntime['sample']> {
    const { config, pid } = this.#find(id).state();
    return takeSample(this.#world(), config, pid);
  }

  upperDir(id: ContainerId): string {
    return this.#disk.pathsOf(this.#find(id).id).upperDir;
  }

  async withRoot<T>(id: ContainerId, view: RootView, use: (root: string) => Promise<T>): Promise<T> {
    return this.#find(id).withRoot(view, use);
  }

  writtenBytes(id: ContainerId): Promise<number> {
    return this.#find(id).writtenBytes();
  }

  pids(id: ContainerId): Promise<number[]> {
    return this.#find(id).pids();
  }

  watch(listener: (event: RuntimeEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #find(id: ContainerId): Container {
    const container = this.#containers.get(id);
    if (container === undefined) throw new EnxameError('not-found', `No such container: ${id}`);
    return container;
  }

  #emit(event: RuntimeEvent): void {
    for (const listener of this.#listeners) {
      try {
        listener(event);
      } catch (error) {
        this.#log(error, `tell about ${event.type} of container ${event.id}`);
      }
    }
  }

  #log(error: unknown, what: string): void {
    this.#options.log?.(error, what);
  }

  #sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => this.#options.clock.setTimeout(resolve, delayMs));
  }
}

function checkConfig(config: ContainerConfig): void {
  if (!idPattern.test(config.id)) {
    throw new EnxameError('invalid-argument', 'container id: must be 64 lower-case hex digits');
  }
  if (config.rootLayers.length === 0) {
    throw new EnxameError('invalid-argument', 'rootLayers: an image has one layer at least');
  }
}

function checkName(name: string): void {
  if (namePattern.test(name) && name.length <= nameLengthMax) return;
  throw new EnxameError(
    'invalid-argument',
    `Invalid container name (${name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed`,
  );
}

function nameInUse(name: string, owner: ContainerId): EnxameError {
  return new EnxameError(
    'conflict',
    `Conflict. The container name "/${name}" is already in use by container "${owner}". You have to remove (or rename) that container to be able to reuse that name.`,
  );
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    const entries = await readdir(folder, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}
