/** A process in a running container, as the port shows it. */
import { randomBytes } from 'node:crypto';
import type { CgroupPlan } from '../cgroup/cgroup-plan.js';
import type { ShimClient, ShimExecSession } from '../launcher/shim-client.js';
import { planExec, type ContainerPaths } from '../plan/container-plan.js';
import { signalNumber } from '../plan/signals.js';
import type { ContainerConfig, ExecConfig, ExecSession } from '../port.js';
import { StartFailure } from '../start-failure.js';
import type { ContainerWorld } from './container-world.js';
import { execWithRuntime } from './foreign-launch.js';
import { findUser } from './launch-inputs.js';

const execIdBytes = 32;

/** Throws `StartFailure` when the program cannot be run. */
export async function startExec(options: {
  world: ContainerWorld;
  config: ContainerConfig;
  paths: ContainerPaths;
  shim: ShimClient;
  cgroup: CgroupPlan;
  exec: ExecConfig;
}): Promise<ExecSession> {
  const { world, config, paths, shim, cgroup, exec } = options;
  const user = findUser(config, paths, exec.user || config.user, exec.user ? [] : config.groups);
  const { facts } = world.node();
  const plan = planExec({ container: config, exec, user, cgroup, node: facts, killOnDisconnect: false });
  const outcome = await shim.exec(await execWithRuntime(config, paths, plan));
  if (!outcome.ok) throw new StartFailure(outcome);
  return execSessionOf(exec.id ?? randomBytes(execIdBytes).toString('hex'), outcome.session);
}

function execSessionOf(id: string, session: ShimExecSession): ExecSession {
  return {
    id,
    pid: session.pid,
    stdin: session.stdin,
    stdout: session.stdout,
    stderr: session.stderr,
    resize: (size) => session.resize(size),
    kill: (signal) => session.kill(signalNumber(signal)),
    exited: session.exited,
  };
}
