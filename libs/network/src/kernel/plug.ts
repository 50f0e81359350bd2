/** An interface of a container that runs already: what the launcher does at a start, done later. */
import type { ContainerInterface } from '#libs/model';
import { mustRun, runCommand } from './command.js';

/** `pid`: any process in the container's network namespace. All or nothing. */
export async function plug(pid: number, link: ContainerInterface): Promise<void> {
  const { hostName, name, address, gateway, mtu } = link;
  const destination = link.defaultRoute ? 'default' : link.subnet;
  const outside = [
    `link add ${hostName} mtu ${mtu} type veth peer name ${name} mtu ${mtu} netns ${pid}`,
    `link set ${hostName} up`,
    `route replace ${address}/32 dev ${hostName} scope link`,
  ];
  const inside = [
    `link set ${name} up`,
    `addr add ${address}/32 dev ${name}`,
    `route replace ${destination} via ${gateway} dev ${name} onlink`,
  ];
  try {
    await mustRun('ip', ['-batch', '-'], `${outside.join('\n')}\n`);
    await mustRun('nsenter', [`--net=/proc/${pid}/ns/net`, 'ip', '-batch', '-'], `${inside.join('\n')}\n`);
  } catch (error) {
    await unplug(link);
    throw error;
  }
}

/** The other end and the routes go with it. It may be gone already. */
export async function unplug(link: ContainerInterface): Promise<void> {
  await runCommand('ip', ['link', 'del', link.hostName]);
}

/** Another interface is the way out now. */
export async function makeDefault(pid: number, link: ContainerInterface): Promise<void> {
  const route = ['route', 'replace', 'default', 'via', link.gateway, 'dev', link.name, 'onlink'];
  await mustRun('nsenter', [`--net=/proc/${pid}/ns/net`, 'ip', ...route]);
}
