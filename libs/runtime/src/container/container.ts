/** One container: its record, its shim, and what happens to it, one thing at a time. */
import { describeError, EnxameError, isEnxameError, type ContainerId } from '#libs/model';
import { planCgroup, type CgroupPlan } from '../cgroup/cgroup-plan.js';
import { killAll, readPids, readUsage, removeCgroups } from '../cgroup/cgroup-files.js';
import { HealthMonitor } from '../health/health-monitor.js';
import { noHealth, probeCommand, startingHealth } from '../health/health-state.js';
import type { LauncherClient } from '../launcher/client.js';
import type { LaunchFailure } from '../launcher/outcome.js';
import { createShimClient, type ShimClient, type ShimStatus } from '../launcher/shim-client.js';
import type { RuntimeClock } from '../options.js';
import { planExec, planLaunch, type ContainerPaths } from '../plan/container-plan.js';
import { signalNumber } from '../plan/signals.js';
import type { ResolvedUser } from '../plan/users.js';
import type {
  ContainerAttachment,
  ContainerConfig,
  ContainerExit,
  ContainerState,
  ContainerStats,
  ExecConfig,
  ExecSession,
  RuntimeEvent,
} from '../port.js';
import { readFile } from 'node:fs/promises';
import { StartFailure } from '../start-failure.js';
import { AttachQueue } from './attach-queue.js';
import type { ContainerDisk, ContainerRecord } from './container-record.js';
import { execSessionOf, makeExecId } from './exec-session.js';
import { runProbe } from './health-probe.js';
import { findUser, prepareMounts, writeNameFiles } from './launch-inputs.js';
import { parseNetworkCounters } from './network-counters.js';
import { NetworkHold } from './network-hold.js';
import type { Node } from './node-facts.js';
import { Turns } from './turns.js';

export interface ContainerWorld {
  disk: ContainerDisk;
  launcher: LauncherClient;
  clock: RuntimeClock;
  node(): Node;
  cgroupParent: string;
  cpusetMems(): string | undefined;
  emit(event: RuntimeEvent): void;
  log(error: unknown, what: string): void;
}

const sigkill = 9;
/** How long the kernel may take to end a killed container before its cgroup is killed, and then before giving up. */
const killMsMax = 10_000;
/** How long a plan may still be with the launcher after its agent died. */
const launchSettleMs = 2_000;
const launchSettleStepMs = 20;
const failedBeforeExec = 128;
const lostExitCode = 137;

export class Container {
  readonly paths: ContainerPaths;
  readonly #world: ContainerWorld;
  readonly #turns = new Turns();
  readonly #shim: ShimClient;
  readonly #attaches = new AttachQueue();
  readonly #networkHold: NetworkHold;
  #record: ContainerRecord;
  #pid = 0;
  /** Which run the exit that is waited for belongs to. */
  #run = 0;
  #health: HealthMonitor | undefined;
  #waiters: ((exit: ContainerExit) => void)[] = [];
  #endListeners = new Set<() => void>();
  #removed = false;

  constructor(world: ContainerWorld, record: ContainerRecord) {
    this.#world = world;
    this.#record = record;
    this.#networkHold = new NetworkHold(world.clock);
    this.paths = world.disk.pathsOf(record.config.id);
    this.#shim = createShimClient({ socketPath: this.paths.shimSocket, exitPath: this.paths.exitFile });
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
    const { config, phase, startedAtMs, exit, health } = this.#record;
    return {
      config,
      phase,
      pid: this.#pid,
      ...(startedAtMs === undefined ? {} : { startedAtMs }),
      ...(exit === undefined ? {} : { exit }),
      health,
    };
  }

  /** Finds out what became of it while no agent looked. */
  adopt(): Promise<void> {
    return this.#turns.take(async () => {
      const { phase, launching } = this.#record;
      if (phase !== 'running' && !launching) {
        await this.#removeCgroups();
        return;
      }
      let status = await this.#settledStatus().catch((error: unknown) => this.#unreadable(error));
      if (status.phase === 'held') {
        const started = await this.#shim.start();
        status = started.ok
          ? { ...status, phase: 'running', startedAtMs: started.startedAtMs }
          : { phase: 'exited', exit: this.#exitOf(started) };
      }
      switch (status.phase) {
        case 'running':
          return this.#becomeRunning(status.pid, status.startedAtMs, launching);
        case 'exited':
          return this.#becomeExited(status.exit);
        case 'gone':
          if (phase === 'running') return this.#becomeExited(await this.#shim.wait());
          await this.#save({ launching: false });
          await this.#removeCgroups();
      }
    });
  }

  /** An exit record that cannot be read: that it ended is certain, and why nobody knows is what there is to say. */
  #unreadable(error: unknown): { phase: 'exited'; exit: ContainerExit } {
    if (!isEnxameError(error) || error.code !== 'data-damaged') throw error;
    const exit = {
      exitCode: lostExitCode,
      oomKilled: false,
      finishedAtMs: this.#world.clock.nowMs(),
      error: describeError(error),
    };
    return { phase: 'exited', exit };
  }

  /** A plan that its agent sent just before it died may be executed only now. */
  async #settledStatus(): Promise<ShimStatus> {
    const until = this.#world.clock.nowMs() + launchSettleMs;
    for (;;) {
      const status = await this.#shim.status();
      if (status.phase !== 'gone' || !this.#record.launching || this.#world.clock.nowMs() >= until)
        return status;
      await this.#sleep(launchSettleStepMs);
    }
  }

  run(): Promise<ContainerState> {
    return this.#turns.take(async () => {
      this.#requirePresent();
      if (this.isRunning) return this.state();
      this.#networkHold.release();
      await this.#save({ launching: true });
      const launched = await this.#launch();
      if (!launched.ok) {
        const exit = this.#exitOf(launched);
        await this.#save({ launching: false, phase: 'exited', exit });
        this.#settle(exit);
        await this.#removeCgroups();
        throw new StartFailure(launched);
      }
      await this.#becomeRunning(launched.pid, launched.startedAtMs, true);
      return this.state();
    });
  }

  async #launch(): Promise<{ ok: true; pid: number; startedAtMs: number } | LaunchFailure> {
    const { config } = this;
    const { node, launcher } = this.#world;
    let plan;
    try {
      const user = findUser(config, this.paths, config.user, config.groups);
      plan = planLaunch({
        config,
        paths: this.paths,
        user,
        cgroup: this.#cgroupPlan(),
        node: node().facts,
        thermalPaths: node().thermalPaths,
      });
      await writeNameFiles(config, this.paths);
      await prepareMounts(config);
    } catch (error) {
      if (!isEnxameError(error)) throw error;
      return { ok: false, step: 'plan', errno: 0, message: describeError(error), exitCode: failedBeforeExec };
    }
    const held = this.#attaches.isWanted;
    try {
      const outcome = await launcher.launch({ ...plan, shim: { ...plan.shim, held } });
      if (!outcome.ok || !held) return outcome;
    } catch (error) {
      if (!isEnxameError(error) || error.code !== 'unavailable') throw error;
      const status = await this.#settledStatus();
      if (status.phase === 'running') return { ok: true, pid: status.pid, startedAtMs: status.startedAtMs };
      if (status.phase !== 'held') {
        await this.#save({ launching: false });
        throw error;
      }
    }
    await this.#attaches.open(this.#shim);
    return this.#shim.start();
  }

  async #becomeRunning(pid: number, startedAtMs: number, isNew: boolean): Promise<void> {
    const { config } = this;
    const { health } = config;
    const hasHealth = health !== undefined && probeCommand(health.test) !== undefined;
    this.#pid = pid;
    if (config.network.mode === 'routed') this.#networkHold.take(pid);
    if (isNew) {
      const { exit: _ended, ...before } = this.#record;
      this.#record = {
        ...before,
        phase: 'running',
        launching: false,
        startedAtMs,
        health: hasHealth ? startingHealth : noHealth,
      };
      // It runs, whether or not that can be written down: `launching` on disk makes the next agent look.
      await this.#saveQuietly();
      this.#emit({ type: 'start' });
    }
    const run = ++this.#run;
    this.#watchExit(run);
    if (hasHealth) this.#startHealth(startedAtMs);
    // Whoever asked to attach while the launch was under way has missed the held moment, and little else.
    await this.#attaches.open(this.#shim);
  }

  #watchExit(run: number): void {
    this.#shim
      .wait()
      .catch((error: unknown) => this.#unreadable(error).exit)
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
    const { health } = this.#record;
    this.#record = {
      ...this.#record,
      phase: 'exited',
      launching: false,
      exit,
      health: health.status === 'none' ? health : { ...health, status: 'unhealthy' },
    };
    // The shim's own record of the exit is on disk: a full disk keeps nobody from hearing of it.
    await this.#saveQuietly();
    if (exit.oomKilled) this.#emit({ type: 'oom' });
    this.#emit({ type: 'die', exit });
    this.#settle(exit);
    await this.#removeCgroups();
  }

  #settle(exit: ContainerExit): void {
    for (const waiter of this.#waiters.splice(0)) waiter(exit);
    for (const listener of this.#endListeners) listener();
  }

  /** The next end; at once when it has ended already. */
  wait(): Promise<ContainerExit> {
    const { phase, exit } = this.#record;
    if (phase === 'exited' && exit !== undefined) return Promise.resolve(exit);
    return this.nextExit();
  }

  nextExit(): Promise<ContainerExit> {
    return new Promise((resolve) => this.#waiters.push(resolve));
  }

  onEnd(listener: () => void): () => void {
    this.#endListeners.add(listener);
    return () => this.#endListeners.delete(listener);
  }

  async stop(options: { signal?: string; graceMs?: number }): Promise<ContainerExit> {
    // A start that is under way comes first: then there is something to stop.
    await this.#turns.take(async () => this.#requirePresent());
    const { config, phase, exit } = this.#record;
    if (phase === 'exited' && exit !== undefined) return exit;
    if (phase === 'created')
      return { exitCode: 0, oomKilled: false, finishedAtMs: this.#world.clock.nowMs() };
    const ended = this.wait();
    const graceMs = options.graceMs ?? config.stopGraceMs;
    await this.#signal(options.signal ?? config.stopSignal);
    const first = await this.#within(ended, graceMs < 0 ? undefined : graceMs);
    if (first !== undefined) return first;
    await this.#signal('SIGKILL');
    const second = await this.#within(ended, killMsMax);
    if (second !== undefined) return second;
    await killAll(this.#world.node().cgroups, this.#world.cgroupParent, this.id);
    const third = await this.#within(ended, killMsMax);
    if (third !== undefined) return third;
    throw new EnxameError(
      'deadline-exceeded',
      `container ${this.id.slice(0, 12)} did not end ${(2 * killMsMax) / 1000} s after SIGKILL`,
    );
  }

  async kill(signal: string): Promise<void> {
    const number = signalNumber(signal);
    if (!this.isRunning) throw this.#notRunning();
    await this.#signal(signal);
    // Killed processes that the kernel has not ended yet would look alive to whoever asks next.
    if (number === sigkill) await this.#within(this.wait(), killMsMax);
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
      if (this.isRunning) {
        throw new EnxameError(
          'conflict',
          `cannot remove container "/${this.config.name}": container is running: stop the container before removing or force remove`,
        );
      }
      this.#networkHold.release();
      await this.#removeCgroups();
      await this.#world.disk.remove(this.id);
      this.#removed = true;
      this.#attaches.refuse(this.#gone());
      this.#settle({
        exitCode: 0,
        oomKilled: false,
        finishedAtMs: this.#world.clock.nowMs(),
        error: 'removed',
      });
      this.#emit({ type: 'destroy' });
    });
  }

  async exec(exec: ExecConfig): Promise<ExecSession> {
    if (!this.isRunning) throw this.#notRunning();
    const user = findUser(
      this.config,
      this.paths,
      exec.user || this.config.user,
      exec.user ? [] : this.config.groups,
    );
    const outcome = await this.#shim.exec(
      planExec({
        container: this.config,
        exec,
        user,
        cgroup: this.#cgroupPlan(),
        node: this.#world.node().facts,
        killOnDisconnect: false,
      }),
    );
    if (!outcome.ok) throw new StartFailure(outcome);
    const execId = exec.id ?? makeExecId();
    const { argv } = exec;
    this.#emit({ type: 'exec_create', execId, argv });
    this.#emit({ type: 'exec_start', execId, argv });
    const session = execSessionOf(execId, outcome.session);
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
    if (!this.isRunning) throw this.#notRunning();
    await this.#shim.resize(size);
  }

  async stats(): Promise<ContainerStats> {
    if (!this.isRunning) throw this.#notRunning();
    const node = this.#world.node();
    const [usage, devices] = await Promise.all([
      readUsage(node.cgroups, this.#world.cgroupParent, this.id),
      readFile(`/proc/${this.#pid}/net/dev`, 'utf8').catch(() => ''),
    ]);
    return {
      atMs: this.#world.clock.nowMs(),
      ...usage,
      memoryLimitBytes: Math.min(usage.memoryLimitBytes ?? node.memoryBytes, node.memoryBytes),
      network: this.config.network.mode === 'host' ? {} : parseNetworkCounters(devices),
    };
  }

  pids(): Promise<number[]> {
    if (!this.isRunning) return Promise.reject(this.#notRunning());
    return readPids(this.#world.node().cgroups, this.#world.cgroupParent, this.id);
  }

  /** Lets go without a trace: container and shim go on. */
  release(): void {
    this.#run++;
    this.#health?.stop();
    this.#networkHold.release();
    this.#attaches.refuse(new EnxameError('unavailable', 'the agent is ending'));
  }

  #startHealth(startedAtMs: number): void {
    const { health } = this.config;
    const argv = health === undefined ? undefined : probeCommand(health.test);
    if (health === undefined || argv === undefined) return;
    const { clock } = this.#world;
    const exec: ExecConfig = {
      argv,
      env: [],
      workdir: '',
      user: '',
      tty: false,
      attachStdin: false,
      privileged: false,
    };
    let user: ResolvedUser | undefined;
    this.#health = new HealthMonitor({
      health,
      clock,
      startedAtMs,
      state: this.#record.health,
      probe: async (timeoutMs) => {
        user ??= findUser(this.config, this.paths, this.config.user, this.config.groups);
        const plan = planExec({
          container: this.config,
          exec,
          user,
          cgroup: this.#cgroupPlan(),
          node: this.#world.node().facts,
          killOnDisconnect: true,
        });
        return runProbe({ shim: this.#shim, plan, clock, timeoutMs });
      },
      onState: (state) => {
        const before = this.#record.health;
        const isNews = before.status !== state.status || before.failingStreak !== state.failingStreak;
        this.#record = { ...this.#record, health: state };
        if (before.status !== state.status) this.#emit({ type: 'health', status: state.status });
        if (isNews) void this.#turns.take(() => this.#saveQuietly());
      },
      onError: (error) => this.#world.log(error, `health check of container ${this.id}`),
    });
    this.#health.start();
  }

  #cgroupPlan(): CgroupPlan {
    const { node, cgroupParent, cpusetMems } = this.#world;
    const mems = cpusetMems();
    return planCgroup({
      layout: node().cgroups,
      parent: cgroupParent,
      id: this.id,
      resources: this.config.resources,
      privileged: this.config.security.privileged,
      ...(mems === undefined ? {} : { cpusetMems: mems }),
    });
  }

  async #removeCgroups(): Promise<void> {
    const { node, cgroupParent } = this.#world;
    try {
      // Normally there is nobody left: the kernel ends a pid namespace with its first process.
      await killAll(node().cgroups, cgroupParent, this.id);
      await removeCgroups(node().cgroups, cgroupParent, this.id, (delayMs) => this.#sleep(delayMs));
    } catch (error) {
      this.#world.log(error, `remove the cgroups of container ${this.id}`);
    }
  }

  #exitOf(failure: LaunchFailure): ContainerExit {
    return {
      exitCode: failure.exitCode,
      oomKilled: false,
      finishedAtMs: this.#world.clock.nowMs(),
      error: failure.message,
    };
  }

  async #save(change: Partial<ContainerRecord>): Promise<void> {
    this.#record = { ...this.#record, ...change };
    await this.#world.disk.save(this.#record);
  }

  async #saveQuietly(): Promise<void> {
    if (this.#removed) return;
    try {
      await this.#world.disk.save(this.#record);
    } catch (error) {
      this.#world.log(error, `record the state of container ${this.id}`);
    }
  }

  #emit(event: EventDetail): void {
    this.#world.emit({ ...event, id: this.id, atMs: this.#world.clock.nowMs() } as RuntimeEvent);
  }

  #within<T>(promise: Promise<T>, ms: number | undefined): Promise<T | undefined> {
    if (ms === undefined) return promise;
    return new Promise((resolve, reject) => {
      const cancel = this.#world.clock.setTimeout(() => resolve(undefined), ms);
      promise.then(resolve, reject).finally(cancel);
    });
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.#world.clock.setTimeout(resolve, ms));
  }

  #requirePresent(): void {
    if (this.#removed) throw this.#gone();
  }

  #gone(): EnxameError {
    return new EnxameError('not-found', `No such container: ${this.id}`);
  }

  #notRunning(): EnxameError {
    return new EnxameError('conflict', `container ${this.id} is not running`);
  }
}

type EventDetail = RuntimeEvent extends infer Event
  ? Event extends RuntimeEvent
    ? Omit<Event, 'id' | 'atMs'>
    : never
  : never;
