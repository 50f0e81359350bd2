/** One container: its record, its shim, and what happens to it, one thing at a time. */
import { EnxameError, isEnxameError, type ContainerId } from '#libs/model';
import type { CgroupPlan } from '../cgroup/cgroup-plan.js';
import { readPids } from '../cgroup/cgroup-files.js';
import { applyLimits } from '../cgroup/apply-limits.js';
import { folderSize } from '../files/folder-size.js';
import type { HealthMonitor } from '../health/health-monitor.js';
import { noHealth, startingHealth } from '../health/health-state.js';
import { createShimClient, type ShimClient } from '../launcher/shim-client.js';
import type { ContainerPaths } from '../plan/container-plan.js';
import { signalNumber } from '../plan/signals.js';
import type {
  ContainerAttachment,
  ContainerChange,
  ContainerConfig,
  ContainerExit,
  ContainerFiles,
  ContainerState,
  ContainerStats,
  ExecConfig,
  ExecSession,
  RestartPolicy,
  RuntimeEvent,
  RunOptions,
  StopOptions,
} from '../port.js';
import { isWantedAtStart, restartDelayMs } from '../restart/restart-policy.js';
import { StartFailure } from '../start-failure.js';
import { AttachQueue } from './attach-queue.js';
import { ContainerCgroups, containerCgroup, measure } from './container-cgroup.js';
import { hasHealthCheck, startHealthCheck } from './container-health.js';
import { filesOf, type ContainerRecord } from './container-record.js';
import type { ContainerWorld } from './container-world.js';
import { EndListeners } from './end-listeners.js';
import { endProcess, killMsMax, within } from './ending.js';
import { startExec } from './exec-session.js';
import { endLeftRoots, withHeldRoot, type RootView } from './held-root.js';
import { KeptRecord } from './kept-record.js';
import { adoptedStatus, exitOfFailure, launchContainer, unreadableExit, type Launched } from './launching.js';
import { NetworkHold } from './network-hold.js';
import { Pausing } from './pausing.js';
import { cannotRemove, isGone, isPaused, isRestarting, notRunning } from './refusals.js';
import { RestartTimer } from './restart-timer.js';
import { Turns, Users } from './turns.js';

const sigkill = 9;

export class Container {
  readonly paths: ContainerPaths;
  readonly #world: ContainerWorld;
  readonly #turns = new Turns();
  readonly #shim: ShimClient;
  readonly #attaches = new AttachQueue();
  readonly #networkHold: NetworkHold;
  readonly #kept: KeptRecord;
  readonly #cgroups: ContainerCgroups;
  readonly #files: ContainerFiles;
  #pid = 0;
  /** Which run the exit that is waited for belongs to. */
  #run = 0;
  #health: HealthMonitor | undefined;
  #removed = false;
  readonly #ends = new EndListeners();
  readonly #pausing: Pausing;
  readonly #restarts: RestartTimer;
  /** Who looks at its files: they stay until nobody does. */
  readonly #roots = new Users();

  constructor(world: ContainerWorld, record: ContainerRecord) {
    this.#world = world;
    this.#kept = new KeptRecord(world.disk, record);
    this.#cgroups = new ContainerCgroups(world, record.config.id);
    this.#networkHold = new NetworkHold(world.clock);
    this.#restarts = new RestartTimer(world.clock);
    this.#pausing = new Pausing(world, record.config.id);
    this.paths = world.disk.pathsOf(record.config.id);
    this.#files = filesOf(this.paths);
    this.#shim = createShimClient({ socketPath: this.paths.shimSocket, exitPath: this.paths.exitFile });
  }

  get #record(): ContainerRecord {
    return this.#kept.now;
  }

  get id(): ContainerId {
    return this.#record.config.id;
  }

  get config(): ContainerConfig {
    return this.#record.config;
  }

  get isRunning(): boolean {
    return this.#record.phase === 'running';
  }

  state(): ContainerState {
    const { config, phase, startedAtMs, exit, health, restart, lastFinishedAtMs } = this.#record;
    return {
      config,
      phase,
      pid: this.#pid,
      ...(startedAtMs === undefined ? {} : { startedAtMs }),
      ...(exit === undefined ? {} : { exit }),
      ...(lastFinishedAtMs === undefined ? {} : { lastFinishedAtMs }),
      health,
      paused: this.#pausing.isPaused,
      restarting: this.#restarts.isWaiting,
      restartCount: restart?.count ?? 0,
      files: this.#files,
    };
  }

  /** Finds out what became of it while no agent looked. */
  adopt(): Promise<void> {
    return this.#turns.take(async () => {
      const { phase, launching } = this.#record;
      await endLeftRoots(this.#world, this.config);
      if (phase !== 'running' && !launching) {
        await this.#cleanUp();
        return;
      }
      const status = await adoptedStatus(this.#world, this.#shim, launching);
      switch (status.phase) {
        case 'running':
          await this.#pausing.adopt();
          this.#world.volumeMounts.keep(this.id, this.config.mounts);
          return this.#becomeRunning(status.pid, status.startedAtMs, launching);
        case 'exited':
          return this.#becomeExited(status.exit);
        case 'gone':
          if (phase === 'running') return this.#becomeExited(await this.#shim.wait());
          await this.#kept.save({ launching: false });
          await this.#cleanUp();
      }
    });
  }

  run(options: RunOptions = {}): Promise<ContainerState> {
    return this.#turns.take(async () => {
      this.#requirePresent();
      if (this.isRunning) return this.state();
      this.#restarts.cancel();
      this.#restarts.lastDelayMs = undefined;
      return this.#start({ restart: { count: 0, stoppedByUser: false } }, options);
    });
  }

  async #start(change: Partial<ContainerRecord>, options: RunOptions = {}): Promise<ContainerState> {
    this.#networkHold.release();
    this.#cgroups.expect();
    const recorded = this.#kept.save({ ...change, launching: true });
    let launched: Launched;
    try {
      launched = await launchContainer({
        world: this.#world,
        config: this.config,
        paths: this.paths,
        shim: this.#shim,
        attaches: this.#attaches,
        recorded,
        run: options,
        cgroup: () => this.#cgroupPlan(),
      });
    } catch (error) {
      if (isEnxameError(error) && error.code === 'unavailable') await this.#kept.save({ launching: false });
      throw error;
    }
    if (!launched.ok) {
      const exit = exitOfFailure(this.#world, launched);
      await this.#kept.save({ launching: false, phase: 'exited', exit });
      this.#ends.tell(exit);
      await this.#cleanUp();
      throw new StartFailure(launched);
    }
    await this.#becomeRunning(launched.pid, launched.startedAtMs, true);
    return this.state();
  }

  /** The node has come up. */
  resume(): void {
    const { phase, exit, restart, startedAtMs } = this.#record;
    if (phase !== 'exited' || exit === undefined || startedAtMs === undefined) return;
    const wanted = isWantedAtStart({
      policy: this.#policy,
      restartCount: restart?.count ?? 0,
      exitCode: exit.exitCode,
      stoppedByUser: restart?.stoppedByUser ?? false,
    });
    if (wanted) this.#runAgainAfter(0);
  }

  get #policy(): RestartPolicy {
    return this.config.restart ?? { name: 'no', retriesMax: 0 };
  }

  #runAgainAfter(delayMs: number): void {
    this.#restarts.wait(delayMs, () => {
      this.#turns
        .take(async () => {
          if (!this.#restarts.isWaiting || this.#removed || this.#world.disk.isClosed) return;
          const count = (this.#record.restart?.count ?? 0) + 1;
          try {
            await this.#start({ restart: { count, stoppedByUser: false } });
          } finally {
            this.#restarts.cancel();
          }
        })
        .catch((error: unknown) => this.#world.log(error, `run container ${this.id} again`));
    });
  }

  async #becomeRunning(pid: number, startedAtMs: number, isNew: boolean): Promise<void> {
    const { config } = this;
    const hasHealth = hasHealthCheck(config);
    this.#pid = pid;
    if (config.network.mode === 'routed') this.#networkHold.take(pid);
    if (isNew) {
      this.#pausing.reset();
      const { exit: ended, ...before } = this.#record;
      this.#kept.change({
        ...before,
        ...(ended === undefined ? {} : { lastFinishedAtMs: ended.finishedAtMs }),
        phase: 'running',
        launching: false,
        startedAtMs,
        health: hasHealth ? startingHealth : noHealth,
      });
      // It runs, whether or not that can be written down: `launching` on disk makes the next agent look. So nobody
      // waits for it.
      void this.#saveQuietly();
      this.#emit({ type: 'start' });
    }
    const run = ++this.#run;
    this.#watchExit(run);
    this.#startHealth(startedAtMs);
    // Whoever asked to attach while the launch was under way has missed the held moment, and little else.
    await this.#attaches.open(this.#shim);
  }

  #watchExit(run: number): void {
    this.#shim
      .wait()
      .catch((error: unknown) => unreadableExit(error, this.#world).exit)
      .then((exit) =>
        this.#turns.take(async () => {
          if (run === this.#run && this.isRunning && !this.#world.disk.isClosed)
            await this.#becomeExited(exit);
        }),
      )
      .catch((error: unknown) => this.#world.log(error, `record the end of container ${this.id}`));
  }

  async #becomeExited(exit: ContainerExit): Promise<void> {
    this.#health?.stop();
    this.#health = undefined;
    this.#pid = 0;
    this.#networkHold.releaseSoon();
    this.#pausing.reset();
    const { health, startedAtMs, restart } = this.#record;
    const delayMs = restartDelayMs({
      policy: this.#policy,
      restartCount: restart?.count ?? 0,
      exitCode: exit.exitCode,
      ranMs: exit.finishedAtMs - (startedAtMs ?? exit.finishedAtMs),
      lastDelayMs: this.#restarts.lastDelayMs,
      stoppedByUser: restart?.stoppedByUser ?? false,
    });
    this.#kept.change({
      ...this.#record,
      phase: 'exited',
      launching: false,
      exit,
      health: health.status === 'none' ? health : { ...health, status: 'unhealthy' },
    });
    // The shim's own record of the exit is on disk: nobody waits for this one to hear of it.
    void this.#saveQuietly();
    if (delayMs !== undefined && this.#world.mayRestart()) this.#runAgainAfter(delayMs);
    // Whoever hears of the end finds its volumes let go.
    await this.#world.volumeMounts.leave(this.id);
    if (exit.oomKilled) this.#emit({ type: 'oom' });
    this.#emit({ type: 'die', exit });
    this.#ends.tell(exit);
    await this.#cleanUp();
  }

  /** The next end; at once when it has ended already. */
  wait(): Promise<ContainerExit> {
    const { phase, exit } = this.#record;
    if (phase === 'exited' && exit !== undefined) return Promise.resolve(exit);
    return this.nextExit();
  }

  nextExit(): Promise<ContainerExit> {
    return this.#ends.next();
  }

  onEnd(listener: () => void): () => void {
    return this.#ends.each(listener);
  }

  async stop(options: StopOptions): Promise<ContainerExit> {
    // A start that is under way comes first: then there is something to stop.
    const wasWaiting = await this.#turns.take(async () => {
      this.#requirePresent();
      if (options.nodeGoesDown !== true) await this.#noteUserStop();
      const waited = this.#restarts.isWaiting;
      this.#restarts.cancel();
      return waited;
    });
    const { phase, exit } = this.#record;
    if (phase === 'exited' && exit !== undefined) {
      if (wasWaiting) this.#emit({ type: 'stop' });
      return exit;
    }
    if (phase === 'created')
      return { exitCode: 0, oomKilled: false, finishedAtMs: this.#world.clock.nowMs() };
    const ended = await this.#endProcess(options);
    this.#emit({ type: 'stop' });
    return ended;
  }

  #endProcess(request: StopOptions): Promise<ContainerExit> {
    return endProcess({
      world: this.#world,
      config: this.config,
      request,
      ended: this.wait(),
      signal: (name) => this.#signal(name),
      thaw: () => this.#thaw(),
    });
  }

  async restart(options: StopOptions): Promise<void> {
    if (this.isRunning || this.#restarts.isWaiting) await this.stop(options);
    await this.run();
    this.#emit({ type: 'restart' });
  }

  async kill(signal: string): Promise<void> {
    const number = signalNumber(signal);
    if (!this.isRunning) {
      if (!this.#restarts.isWaiting) throw notRunning(this.id);
      return void (await this.stop({}));
    }
    const ends = number === sigkill || number === signalNumber(this.config.stopSignal);
    if (ends) await this.#turns.take(() => this.#noteUserStop());
    const ended = this.wait();
    await this.#signal(signal);
    if (ends) await this.#thaw();
    // Killed processes that the kernel has not ended yet would look alive to whoever asks next.
    if (number === sigkill) await within(this.#world, ended, killMsMax);
  }

  /** Its policy no longer runs it again, also after this agent's end. */
  async #noteUserStop(): Promise<void> {
    if (this.#policy.name === 'no') return;
    const { restart } = this.#record;
    if (restart?.stoppedByUser !== true)
      await this.#kept.save({ restart: { count: restart?.count ?? 0, stoppedByUser: true } });
  }

  pause(): Promise<void> {
    return this.#turns.take(async () => {
      this.#requirePresent();
      if (this.#restarts.isWaiting) throw isRestarting(this.id);
      if (!this.isRunning) throw notRunning(this.id);
      await this.#pausing.pause();
      this.#health?.stop();
      this.#emit({ type: 'pause' });
    });
  }

  unpause(): Promise<void> {
    return this.#turns.take(async () => {
      this.#requirePresent();
      if (!this.#pausing.isPaused) throw new EnxameError('internal', `Container ${this.id} is not paused`);
      await this.#thaw();
    });
  }

  async #thaw(): Promise<void> {
    if (!(await this.#pausing.thaw())) return;
    if (this.isRunning) this.#startHealth(this.#record.startedAtMs ?? this.#world.clock.nowMs());
    this.#emit({ type: 'unpause' });
  }

  rename(name: string): Promise<void> {
    return this.#turns.take(async () => {
      this.#requirePresent();
      const oldName = this.config.name;
      await this.#kept.save({ config: { ...this.config, name } });
      this.#emit({ type: 'rename', oldName });
    });
  }

  update(change: ContainerChange): Promise<void> {
    return this.#turns.take(async () => {
      this.#requirePresent();
      const config = { ...this.config, ...change };
      const cgroup = this.#cgroupPlan(config);
      if (this.isRunning && change.resources !== undefined) await applyLimits(cgroup, await this.pids());
      await this.#kept.save({ config });
      if (change.restart?.name === 'no') this.#restarts.cancel();
      this.#emit({ type: 'update' });
    });
  }

  /** To a container that has just ended: nothing. */
  async #signal(signal: string): Promise<void> {
    try {
      await this.#shim.signal(signalNumber(signal));
      this.#emit({ type: 'kill', signal });
    } catch (error) {
      if (!isEnxameError(error) || error.code !== 'not-found') throw error;
    }
  }

  remove(): Promise<void> {
    return this.#turns.take(async () => {
      this.#requirePresent();
      if (this.isRunning || this.#restarts.isWaiting) throw cannotRemove(this.state());
      this.#networkHold.release();
      await this.#roots.idle();
      await this.#cleanUp();
      await this.#kept.leave(() => this.#world.disk.remove(this.id));
      this.#removed = true;
      this.#attaches.refuse(isGone(this.id));
      this.#ends.tell({
        exitCode: 0,
        oomKilled: false,
        finishedAtMs: this.#world.clock.nowMs(),
        error: 'removed',
      });
      this.#emit({ type: 'destroy' });
    });
  }

  async exec(exec: ExecConfig): Promise<ExecSession> {
    if (this.#restarts.isWaiting) throw isRestarting(this.id);
    if (!this.isRunning) throw notRunning(this.id);
    if (this.#pausing.isPaused) throw isPaused(this.id);
    const session = await startExec({
      world: this.#world,
      config: this.config,
      paths: this.paths,
      shim: this.#shim,
      cgroup: this.#cgroupPlan(),
      exec,
    });
    const execId = session.id;
    this.#emit({ type: 'exec_start', execId, argv: exec.argv });
    session.exited.then(
      ({ exitCode }) => this.#emit({ type: 'exec_die', execId, exitCode }),
      (error: unknown) => this.#world.log(error, `exec in container ${this.id}`),
    );
    return session;
  }

  attach(options: { stdin: boolean; signal?: AbortSignal }): Promise<ContainerAttachment> {
    this.#requirePresent();
    return this.isRunning ? this.#shim.attach(options) : this.#attaches.add(options);
  }

  async resize(size: { rows: number; columns: number }): Promise<void> {
    if (!this.isRunning) throw notRunning(this.id);
    await this.#shim.resize(size);
  }

  async stats(): Promise<ContainerStats> {
    if (!this.isRunning) throw notRunning(this.id);
    return measure(this.#world, this.config, this.#pid);
  }

  /** A container that runs is seen as it sees itself; one that does not cannot be started meanwhile. */
  withRoot<T>(view: RootView, use: (root: string) => Promise<T>): Promise<T> {
    this.#requirePresent();
    if (view !== 'whole') return this.#roots.use(() => withHeldRoot(this.#world, this.config, view, use));
    if (this.isRunning) return use(`/proc/${this.#pid}/root`);
    return this.#turns.take(async () => {
      this.#requirePresent();
      if (this.isRunning) return use(`/proc/${this.#pid}/root`);
      return withHeldRoot(this.#world, this.config, view, use);
    });
  }

  /** Bytes it has written over its image. */
  writtenBytes(): Promise<number> {
    return folderSize(this.paths.upperDir);
  }

  pids(): Promise<number[]> {
    if (!this.isRunning) return Promise.reject(notRunning(this.id));
    return readPids(this.#world.node().cgroups, this.#world.cgroupParent, this.id);
  }

  /** Lets go without a trace: container and shim go on. Resolves when nothing is written any more. */
  release(): Promise<void> {
    this.#run++;
    this.#restarts.cancel();
    this.#health?.stop();
    this.#networkHold.release();
    this.#attaches.refuse(new EnxameError('unavailable', 'the agent is ending'));
    return this.#kept.settled();
  }

  #startHealth(startedAtMs: number): void {
    this.#health = startHealthCheck({
      world: this.#world,
      config: this.config,
      paths: this.paths,
      shim: this.#shim,
      cgroup: () => this.#cgroupPlan(),
      startedAtMs,
      state: this.#record.health,
      onState: (state) => {
        const before = this.#record.health;
        const isNews = before.status !== state.status || before.failingStreak !== state.failingStreak;
        this.#kept.change({ ...this.#record, health: state });
        if (before.status !== state.status) this.#emit({ type: 'health', status: state.status });
        if (isNews) void this.#saveQuietly();
      },
    });
  }

  #cgroupPlan(config: ContainerConfig = this.config): CgroupPlan {
    return containerCgroup(this.#world, config);
  }

  /** Nothing of it runs. */
  async #cleanUp(): Promise<void> {
    await this.#cgroups.remove();
    await this.#world.volumeMounts.leave(this.id);
  }

  async #saveQuietly(): Promise<void> {
    if (this.#removed) return;
    try {
      await this.#kept.save();
    } catch (error) {
      if (!this.#kept.isLeaving) this.#world.log(error, `record the state of container ${this.id}`);
    }
  }

  #emit(event: EventDetail): void {
    this.#world.emit({ ...event, id: this.id, atMs: this.#world.clock.nowMs() } as RuntimeEvent);
  }

  #requirePresent(): void {
    if (this.#removed) throw isGone(this.id);
  }
}

type EventDetail = RuntimeEvent extends infer Event
  ? Event extends RuntimeEvent
    ? Omit<Event, 'id' | 'atMs'>
    : never
  : never;
