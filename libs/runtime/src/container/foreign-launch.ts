/** Containers of another runtime: their bundles on disk, and plans that lead there. */
import { EnxameError } from '#libs/model';
import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { foreignRuntimes } from '../foreign-runtimes.js';
import type { ExecPlan, LaunchPlan } from '../launcher/launch-plan.js';
import type { ContainerPaths } from '../plan/container-plan.js';
import { planForeign, planForeignExec } from '../plan/foreign-bundle.js';
import { seccompProfileOf } from '../plan/process-plan.js';
import type { ContainerConfig } from '../port.js';
import { deviceRulesOf } from './container-cgroup.js';
import type { ContainerWorld } from './container-world.js';

function bundleOf(paths: ContainerPaths): string {
  return join(dirname(paths.exitFile), 'bundle');
}

/** The plan as it is when the container is our own runtime's. */
export async function withRuntime(
  world: ContainerWorld,
  config: ContainerConfig,
  paths: ContainerPaths,
  plan: LaunchPlan,
): Promise<LaunchPlan> {
  if (config.runtime === undefined) return plan;
  const program = foreignRuntimes().get(config.runtime);
  if (program === undefined)
    throw new EnxameError('failed-precondition', `runtime ${config.runtime} is not on this node any more`);
  const { architecture, kernelRelease } = world.node().facts;
  const bundle = bundleOf(paths);
  const foreign = planForeign(
    plan,
    { program, root: join(dirname(dirname(paths.shimSocket)), 'oci'), bundle },
    {
      seccomp: seccompProfileOf(config.security.seccomp),
      target: { architecture: architecture ?? 'amd64', kernelRelease },
      cgroupsPath: `${world.cgroupParent}/${config.id}`,
      deviceRules: config.security.privileged ? 'all' : deviceRulesOf(config),
    },
  );
  await mkdir(bundle, { recursive: true, mode: 0o700 });
  await writeFile(join(bundle, 'config.json'), JSON.stringify(foreign.config));
  return foreign.plan;
}

export async function execWithRuntime(
  config: ContainerConfig,
  paths: ContainerPaths,
  plan: ExecPlan,
): Promise<ExecPlan> {
  if (config.runtime === undefined) return plan;
  const path = join(bundleOf(paths), `exec-${randomBytes(8).toString('hex')}.json`);
  const foreign = planForeignExec(plan, path);
  await writeFile(path, JSON.stringify(foreign.process));
  return foreign.plan;
}
