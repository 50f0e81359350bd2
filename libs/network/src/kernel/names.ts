/** Names and numbers of this node's kernel objects. All of them follow from the options, so a crash loses none. */
import { hashName } from '../hash.js';

/** `-` ends the tag, which cannot contain one: no cluster's prefix begins another's. */
export function overlayPrefix(tag: string): string {
  return `x${tag}-`;
}

/** One VXLAN device per network: `x`, 8 of tag, `-`, and 24 bits in base 36 make 15 characters at most. */
export function overlayDevice(tag: string, vni: number): string {
  return `${overlayPrefix(tag)}${vni.toString(36)}`;
}

export function containerPrefix(tag: string): string {
  return `e${hashName(tag, 4)}-`;
}

/** Node side of a container's interface, 15 characters. */
export function containerDevice(tag: string, containerId: string, index: number): string {
  return `${containerPrefix(tag)}${hashName(`${containerId}/${index}`, 9)}`;
}

/** Locally administered; the same on all overlay devices of a node, so that a frame's sender names its node. */
export function nodeMacAddress(nodeIndex: number): string {
  const byte = (value: number): string => (value & 255).toString(16).padStart(2, '0');
  return `02:65:6e:78:${byte(nodeIndex >>> 8)}:${byte(nodeIndex)}`;
}

/** Firewall mark, and number of the routing table, of connections that came in through the node of this index. */
export function peerMark(markBase: number, nodeIndex: number): number {
  return (markBase | nodeIndex) >>> 0;
}

/** Two rule priorities of this node's own: the overlay's exception first, then the marks. Between local and main. */
export function rulePriorities(markBase: number): { overlay: number; marks: number } {
  const overlay = 1000 + ((markBase >>> 12) % 15_000) * 2;
  return { overlay, marks: overlay + 1 };
}

/** Metric of this node's routes to nowhere and to itself, by which it knows them again. The low bits of a mark base are zero. */
export function nowhereMetric(markBase: number): number {
  return (markBase | 1) >>> 0;
}
