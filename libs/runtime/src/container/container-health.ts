/** The health check of one run of a container. */
import type { CgroupPlan } from '../cgroup/cgroup-plan.js';
import { HealthMonitor } from '../health/health-monitor.js';
import { probeCommand } from '../health/health-state.js';
import type { ShimClient } from '../launcher/shim-client.js';
import { planExec, type ContainerPaths } from '../plan/container-plan.js';
import type { ResolvedUser } from '../plan/users.js';
import type { ContainerConfig, ExecConfig, HealthState } from '../port.js';
import type { ContainerWorld } from './container-world.js';
import { runProbe } from './health-probe.js';
import { execWithRuntime } from './foreign-launch.js';
import { findUser } from './launch-inputs.js';

export function hasHealthCheck({ health }: ContainerConfig): boolean {
  return health !== undefined && probeCommand(health.test) !== undefined;
}

/** Undefined for a container that has none. */
export function startHealthCheck(options: {
  world: ContainerWorld;
  config: ContainerConfig;
  paths: ContainerPaths;
  shim: ShimClient;
  cgroup: () => CgroupPlan;
  startedAtMs: number;
  state: HealthState;
  onState(state: HealthState): void;
}): HealthMonitor | undefined {
  const { world, config, paths, shim, startedAtMs, state } = options;
  const { health } = config;
  const argv = health === undefined ? undefined : probeCommand(health.test);
  if (health === undefined || argv === undefined) return undefined;
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
  const monitor = new HealthMonitor({
    health,
    clock: world.clock,
    startedAtMs,
    state,
    probe: async (timeoutMs) => {
      user ??= findUser(config, paths, config.user, config.groups);
      const plan = planExec({
        container: config,
        exec,
        user,
        cgroup: options.cgroup(),
        node: world.node().facts,
        killOnDisconnect: true,
      });
      return runProbe({
        shim,
        plan: await execWithRuntime(config, paths, plan),
        clock: world.clock,
        timeoutMs,
      });
    },
    onState: (changed) => options.onState(changed),
    onError: (error) => world.log(error, `health check of container ${config.id}`),
  });
  monitor.start();
  return monitor;
}
