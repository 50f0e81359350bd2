/**
 * A root file system in memory for a virtual machine: busybox, Node with the libraries it is linked to, a few modules
 * of the kernel, and whatever else a test wants to run in there. Packed by busybox's own cpio, uncompressed: an
 * emulated processor would take longer to inflate it than to read it.
 */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  openSync,
  closeSync,
  readFileSync,
  realpathSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';

export interface InitramfsContent {
  /** Folder to put the tree together in; made by the caller, who also removes it. */
  folder: string;
  /** Programs of this machine; each comes with its shared libraries, under its own path. */
  programs: readonly string[];
  /** Kernel modules, in the order they are loaded. */
  modules: readonly string[];
  /** Files and folders of this machine, with the path they get inside. */
  files: readonly { from: string; to: string }[];
  /** What process 1 does, as a shell script; it ends the machine when it returns. */
  script: string;
}

const busybox = '/bin/busybox';

/** Returns the packed file. */
export function packInitramfs(content: InitramfsContent): string {
  const tree = join(content.folder, 'tree');
  for (const name of ['bin', 'dev', 'proc', 'sys', 'tmp', 'run', 'modules', 'usr/bin', 'usr/sbin', 'etc']) {
    mkdirSync(join(tree, name), { recursive: true });
  }
  copyInto(tree, busybox, busybox);
  for (const applet of execFileSync(busybox, ['--list'], { encoding: 'utf8' }).trim().split('\n')) {
    if (applet !== 'busybox') symlinkSync('busybox', join(tree, 'bin', applet));
  }
  const programs = content.programs.map((program) => realpathSync(program));
  for (const file of new Set([...programs, ...programs.flatMap(sharedLibraries)])) copyInto(tree, file, file);
  for (const module of content.modules) copyInto(tree, module, join('/modules', basename(module)));
  for (const { from, to } of content.files) copyInto(tree, from, to);
  writeFileSync(join(tree, 'init'), initScript(content.modules.map((module) => basename(module))));
  writeFileSync(join(tree, 'main'), content.script);
  for (const script of ['init', 'main']) chmodSync(join(tree, script), 0o755);
  return pack(tree, join(content.folder, 'initramfs.cpio'));
}

function copyInto(tree: string, from: string, to: string): void {
  const target = join(tree, to);
  if (existsSync(target)) return;
  mkdirSync(dirname(target), { recursive: true });
  cpSync(from, target, { recursive: true, dereference: true });
}

/** What the dynamic linker would load, the linker itself included. A static program has none. */
function sharedLibraries(program: string): string[] {
  let listing: string;
  try {
    listing = execFileSync('ldd', [program], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  } catch {
    return [];
  }
  return [...listing.matchAll(/(?:=> )?(\/\S+) \(0x/g)].map((match) => match[1]!);
}

/**
 * The root of an initramfs cannot be pivoted away from, which every container does: so the same files are bound to
 * a mount of their own first, and that is entered.
 */
function initScript(modules: readonly string[]): string {
  return `#!/bin/busybox sh
export PATH=/usr/sbin:/usr/bin:/bin
mount -t devtmpfs devtmpfs /dev
mkdir -p /root-of-all && mount --bind / /root-of-all && cd /root-of-all && mount --move . /
exec chroot . /bin/sh -c '
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts && mount -t devpts devpts /dev/pts
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
${modules.map((module) => `insmod /modules/${module}`).join('\n')}
ip link set lo up
cd / && /main
sync
poweroff -f'
`;
}

function pack(tree: string, file: string): string {
  const output = openSync(file, 'w');
  try {
    const names = execFileSync('find', ['.'], { cwd: tree });
    execFileSync(busybox, ['cpio', '-o', '-H', 'newc'], {
      cwd: tree,
      input: names,
      stdio: ['pipe', output, 'ignore'],
    });
  } finally {
    closeSync(output);
  }
  return file;
}

/** An npm package and all it depends on, as files of `node_modules`. */
export function npmPackageFiles(root: string, names: readonly string[]): { from: string; to: string }[] {
  const found = new Map<string, string>();
  const visit = (name: string): void => {
    if (found.has(name)) return;
    const folder = join(root, 'node_modules', name);
    found.set(name, folder);
    const { dependencies = {} } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as {
      dependencies?: Record<string, string>;
    };
    for (const dependency of Object.keys(dependencies)) visit(dependency);
  };
  for (const name of names) visit(name);
  return [...found].map(([name, from]) => ({ from, to: join('/enxame/node_modules', name) }));
}
