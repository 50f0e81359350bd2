/** Privileges of a container: capabilities, `--security-opt`, devices. */
import { EnxameError } from '#libs/model';
import { checkCapabilities, type ContainerConfig, type ContainerDevice } from '#libs/runtime';
import { readdirSync, statSync, type Stats } from 'node:fs';
import { join } from 'node:path';
import type { DeviceDto, HostConfigDto } from './create-body.dto.js';
import { majorOf, minorOf } from './resources.js';

const accessAll = 'rwm';
const devicesMax = 1_000;

export function securityOf(host: HostConfigDto): ContainerConfig['security'] {
  const privileged = host.Privileged ?? false;
  const options = optionsOf(host.SecurityOpt ?? []);
  checkCapabilities('CapAdd', host.CapAdd ?? []);
  checkCapabilities('CapDrop', host.CapDrop ?? []);
  const unmasked = options.unmasked ? { maskedPaths: [], readOnlyPaths: [] } : {};
  return {
    capabilitiesAdd: host.CapAdd ?? [],
    capabilitiesDrop: host.CapDrop ?? [],
    seccomp: options.seccomp,
    noNewPrivileges: options.noNewPrivileges,
    privileged,
    ...unmasked,
    ...(host.MaskedPaths ? { maskedPaths: host.MaskedPaths } : {}),
    ...(host.ReadonlyPaths ? { readOnlyPaths: host.ReadonlyPaths } : {}),
  };
}

interface SecurityOptions {
  seccomp: ContainerConfig['security']['seccomp'];
  noNewPrivileges: boolean;
  unmasked: boolean;
}

function optionsOf(list: readonly string[]): SecurityOptions {
  const chosen: SecurityOptions = { seccomp: { mode: 'default' }, noNewPrivileges: false, unmasked: false };
  for (const option of list) {
    if (option === 'no-new-privileges') {
      chosen.noNewPrivileges = true;
      continue;
    }
    const [, name = '', value = ''] = /^([^=:]+)[=:]([^]*)$/.exec(option) ?? [];
    switch (name) {
      case 'no-new-privileges':
        if (value !== 'true' && value !== 'false') throw invalidOption(option);
        chosen.noNewPrivileges = value === 'true';
        break;
      case 'seccomp':
        if (value === 'unconfined') chosen.seccomp = { mode: 'unconfined' };
        else if (value !== 'builtin' && value !== 'default')
          chosen.seccomp = { mode: 'custom', profile: value };
        break;
      case 'systempaths':
        if (value !== 'unconfined') throw invalidOption(option);
        chosen.unmasked = true;
        break;
      // Docker, too, takes these where the kernel has neither AppArmor nor SELinux, and does nothing with them.
      case 'apparmor':
      case 'label':
      case 'writable-cgroups':
        break;
      default:
        throw invalidOption(option);
    }
  }
  return chosen;
}

function invalidOption(option: string): EnxameError {
  return new EnxameError('invalid-argument', `invalid --security-opt 2: ${JSON.stringify(option)}`);
}

/** Read at the container's start: Docker, too, refuses a missing device only then. */
export function devicesOf(asked: readonly DeviceDto[]): ContainerDevice[] {
  return asked.flatMap((device) => {
    const from = device.PathOnHost ?? '';
    const to = device.PathInContainer || from;
    const access = device.CgroupPermissions || accessAll;
    if (!/^[rwm]{1,3}$/.test(access))
      throw new EnxameError('invalid-argument', `invalid device mode: ${access}`);
    const stats = statOf(from);
    if (!stats.isDirectory()) return [deviceOf(to, stats, access, from)];
    return devicesBelow(from, to, access);
  });
}

function statOf(path: string): Stats {
  try {
    return statSync(path);
  } catch (error) {
    throw new EnxameError(
      'invalid-argument',
      `error gathering device information while adding custom device "${path}": no such file or directory`,
      { cause: error },
    );
  }
}

function devicesBelow(from: string, to: string, access: string): ContainerDevice[] {
  const found: ContainerDevice[] = [];
  for (const entry of readdirSync(from, { withFileTypes: true, recursive: true })) {
    if (!entry.isCharacterDevice() && !entry.isBlockDevice()) continue;
    const path = join(entry.parentPath, entry.name);
    found.push(deviceOf(join(to, path.slice(from.length)), statSync(path), access, path));
    if (found.length >= devicesMax) break;
  }
  return found;
}

function deviceOf(path: string, stats: Stats, access: string, from: string): ContainerDevice {
  const type = stats.isBlockDevice() ? 'block' : stats.isCharacterDevice() ? 'character' : undefined;
  if (type === undefined) {
    throw new EnxameError(
      'invalid-argument',
      `error gathering device information while adding custom device "${from}": not a device node`,
    );
  }
  const { rdev, mode, uid, gid } = stats;
  return { path, type, major: majorOf(rdev), minor: minorOf(rdev), mode: mode & 0o7777, uid, gid, access };
}

/** `c 1:3 mr`, `a *:* rwm`. */
export function deviceRulesOf(rules: readonly string[]): string[] {
  for (const rule of rules) {
    if (!/^([acb]) ([0-9]+|\*):([0-9]+|\*) ([rwm]{1,3})$/.test(rule))
      throw new EnxameError('invalid-argument', `invalid device cgroup rule format: '${rule}'`);
  }
  return [...rules];
}
