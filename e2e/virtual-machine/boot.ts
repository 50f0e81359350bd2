/**
 * Boots a Linux kernel under QEMU's software emulation and hands over what the guest writes to its second serial
 * port, line by line. The kernel's own words go to a log file.
 */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

export interface MachineOptions {
  kernel: string;
  initramfs: string;
  memoryMegabytes: number;
  consoleFile: string;
  timeoutMs: number;
  onLine: (line: string) => void;
}

/** Resolves when the guest has powered off. Rejects when QEMU fails or the time is over. */
export function bootMachine(options: MachineOptions): Promise<void> {
  const flags: readonly (readonly [string, string?])[] = [
    ['machine', 'q35'],
    ['accel', 'tcg,thread=multi'],
    ['cpu', 'max'],
    ['smp', '2'],
    ['m', String(options.memoryMegabytes)],
    ['nodefaults'],
    ['no-user-config'],
    ['no-reboot'],
    ['display', 'none'],
    ['kernel', options.kernel],
    ['initrd', options.initramfs],
    ['append', 'console=ttyS0 panic=-1 quiet mitigations=off tsc=unstable'],
    ['serial', `file:${options.consoleFile}`],
    ['serial', 'stdio'],
  ];
  const qemu = spawn(
    'qemu-system-x86_64',
    flags.flatMap(([name, value]) => (value === undefined ? [`-${name}`] : [`-${name}`, value])),
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let complaint = '';
  qemu.stderr.on('data', (chunk: Buffer) => (complaint += chunk.toString()));
  createInterface({ input: qemu.stdout }).on('line', options.onLine);
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      complaint = `the machine was still running after ${options.timeoutMs} ms`;
      qemu.kill('SIGKILL');
    }, options.timeoutMs);
    qemu.once('error', reject);
    qemu.once('close', (code) => {
      clearTimeout(timer);
      if (code === 0) resolve();
      else
        reject(new Error(`qemu ended with ${code}: ${complaint}; its console is in ${options.consoleFile}`));
    });
  });
}
