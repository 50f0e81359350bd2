/** Kernel settings of the node's network namespace, and how they go back to what they were. */
import { mkdir, readFile, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { EnxameError } from '#libs/model';

const root = '/proc/sys/net/ipv4';
const savedFile = 'sysctls.json';

async function read(name: string): Promise<string> {
  return (await readFile(join(root, name), 'utf8')).trim();
}

async function write(name: string, value: string): Promise<void> {
  try {
    await writeFile(join(root, name), value);
  } catch (cause) {
    throw new EnxameError('failed-precondition', `cannot set net/ipv4/${name} to ${value}`, { cause });
  }
}

/**
 * Packets for a container may come in by one device and leave by another, which the reverse path filter would drop.
 * The kernel uses the stricter of `all` and the device, so `all` goes to 0 and every other device takes over the
 * value it had in effect.
 */
async function relaxReversePathFilter(): Promise<void> {
  const all = Number(await read('conf/all/rp_filter'));
  if (all === 0) return;
  for (const device of await readdir(join(root, 'conf'))) {
    if (device === 'all') continue;
    const own = Number(await read(`conf/${device}/rp_filter`));
    if (own < all) await write(`conf/${device}/rp_filter`, String(all));
  }
  await write('conf/all/rp_filter', '0');
}

/** Turns on forwarding and translation of 127.0.0.1, and remembers what was set before. */
export async function applySysctls(stateDir: string): Promise<void> {
  const wanted = { ip_forward: '1', 'conf/all/route_localnet': '1' };
  const before: Record<string, string> = {};
  for (const [name, value] of Object.entries(wanted)) {
    const current = await read(name);
    if (current !== value) before[name] = current;
  }
  if (Object.keys(before).length > 0) {
    await mkdir(stateDir, { recursive: true });
    const file = join(stateDir, savedFile);
    await writeFile(`${file}.new`, JSON.stringify(before));
    await rename(`${file}.new`, file);
    for (const name of Object.keys(before)) await write(name, wanted[name as keyof typeof wanted]);
  }
  await relaxReversePathFilter();
}

/** An overlay device takes packets from any client's address; the node that sent them has checked them. */
export async function prepareOverlayDevice(device: string): Promise<void> {
  await write(`conf/${device}/rp_filter`, '0');
}

/** Puts back what `applySysctls` changed. */
export async function restoreSysctls(stateDir: string): Promise<void> {
  const file = join(stateDir, savedFile);
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch {
    // Nothing was changed, or the state folder is gone and with it the memory of what was.
    return;
  }
  const before = JSON.parse(text) as Record<string, string>;
  for (const [name, value] of Object.entries(before)) await write(name, value);
  await rm(file, { force: true });
}
