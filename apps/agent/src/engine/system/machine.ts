/** Facts of the machine that Docker's `/info` and `/version` show. None changes while the process runs. */
import { existsSync, readFileSync } from 'node:fs';
import os from 'node:os';

export interface Machine {
  kernelVersion: string;
  operatingSystem: string;
  operatingSystemVersion: string;
  /** The kernel's name for it: `x86_64`. */
  architecture: string;
  /** Go's name for it: `amd64`. */
  goArchitecture: string;
  cpus: number;
  memoryBytes: number;
  cgroupVersion: '1' | '2';
}

export function readMachine(): Machine {
  const release = readOsRelease();
  const architecture = os.machine();
  return {
    kernelVersion: os.release(),
    operatingSystem: release['PRETTY_NAME'] ?? 'Linux',
    operatingSystemVersion: release['VERSION_ID'] ?? '',
    architecture,
    goArchitecture: goNames[architecture] ?? architecture,
    cpus: os.availableParallelism(),
    memoryBytes: os.totalmem(),
    // The controllers file at the top is there only when version 2 rules the whole hierarchy.
    cgroupVersion: existsSync('/sys/fs/cgroup/cgroup.controllers') ? '2' : '1',
  };
}

const goNames: Record<string, string> = { x86_64: 'amd64', aarch64: 'arm64', armv7l: 'arm', i686: '386' };

function readOsRelease(): Record<string, string> {
  const file = ['/etc/os-release', '/usr/lib/os-release'].find((path) => existsSync(path));
  if (file === undefined) return {};
  const values: Record<string, string> = {};
  for (const line of readFileSync(file, 'utf8').split('\n')) {
    const match = /^([A-Z_]+)=(?:"(.*)"|(.*))$/.exec(line);
    if (match?.[1] !== undefined) values[match[1]] = match[2] ?? match[3] ?? '';
  }
  return values;
}
