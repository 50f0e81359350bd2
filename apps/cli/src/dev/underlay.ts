/** The machines' network of a local cluster: one bridge, a namespace per node but the first, a way out for them. */
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { runCommand, tryCommand } from './command.js';
import type { DevLayout } from './layout.js';

export function createUnderlay(layout: DevLayout): void {
  removeUnderlay(layout);
  const batch = [
    `link add ${layout.bridge} type bridge`,
    `addr add ${layout.bridgeAddress}/24 dev ${layout.bridge}`,
    `link set ${layout.bridge} up`,
  ];
  for (const node of layout.nodes) {
    if (!node.namespace) continue;
    runCommand('ip', ['netns', 'add', node.namespace]);
    batch.push(
      `link add ${node.hostLink} type veth peer name eth0 netns ${node.namespace}`,
      `link set ${node.hostLink} master ${layout.bridge} up`,
    );
  }
  runCommand('ip', ['-batch', '-'], `${batch.join('\n')}\n`);
  for (const node of layout.nodes) {
    if (!node.namespace) continue;
    runCommand(
      'ip',
      ['-netns', node.namespace, '-batch', '-'],
      `link set lo up\naddr add ${node.address}/24 dev eth0\nlink set eth0 up\nroute add default via ${layout.bridgeAddress}\n`,
    );
  }
  allowWayOut(layout);
}

/**
 * Nodes in namespaces reach registries through the machine; the masquerade is for what they send there alone. What
 * clients on the bridge send to published ports is translated already and keeps its sender.
 */
function allowWayOut(layout: DevLayout): void {
  writeFileSync('/proc/sys/net/ipv4/ip_forward', '1');
  const script = `${layout.stateDir}/underlay.nft`;
  writeFileSync(
    script,
    `table ip ${layout.nftTable} {
  chain postrouting {
    type nat hook postrouting priority srcnat;
    ct status dnat accept
    iifname "${layout.bridge}" oifname != "${layout.bridge}" ip saddr ${layout.underlaySubnet} masquerade
  }
}
`,
  );
  runCommand('nft', ['-f', script]);
  rmSync(script);
}

/** Works on whatever is there, so it also cleans up after a run that was killed. */
export function removeUnderlay(layout: DevLayout): void {
  for (const node of layout.nodes) {
    if (node.namespace && existsSync(`/run/netns/${node.namespace}`))
      tryCommand('ip', ['netns', 'del', node.namespace]);
    if (node.hostLink) tryCommand('ip', ['link', 'del', node.hostLink]);
  }
  tryCommand('ip', ['link', 'del', layout.bridge]);
  tryCommand('nft', ['delete', 'table', 'ip', layout.nftTable]);
}
