import type { ContainerId } from '#libs/model';
import { expect } from 'chai';
import type { HostConfigDto } from './create-body.dto.js';
import { logAttributes, logOf } from './log-options.js';
import { checkPlatform, platformWarnings } from './platform.js';
import { resourcesOf } from './resources.js';
import { shownConfig, shownHostConfig } from './shown-config.js';
import { tmpfsOf } from './tmpfs-options.js';

const id = 'c0ffee000000aaaa'.repeat(4) as ContainerId;
const machine = { cpus: 2 };

describe('a container as it is asked for', () => {
  it('shows what nobody said as Docker does', () => {
    expect(shownConfig({ Image: 'box' }, {}, id)).to.deep.equal({
      Hostname: 'c0ffee000000',
      Domainname: '',
      User: '',
      AttachStdin: false,
      AttachStdout: false,
      AttachStderr: false,
      Tty: false,
      OpenStdin: false,
      StdinOnce: false,
      Env: [],
      Cmd: null,
      Image: 'box',
      Volumes: null,
      WorkingDir: '',
      Entrypoint: null,
      OnBuild: null,
      Labels: {},
    });
    const shown = shownHostConfig({ NetworkMode: 'default', Binds: [], MemorySwappiness: -1, PidsLimit: 0 });
    expect(shown).to.deep.include({
      NetworkMode: 'bridge',
      Binds: [],
      CapAdd: null,
      RestartPolicy: { Name: 'no', MaximumRetryCount: 0 },
      LogConfig: { Type: 'json-file', Config: {} },
      MemorySwappiness: null,
      PidsLimit: null,
      ShmSize: 67_108_864,
      IpcMode: 'private',
    });
    expect(shown).to.not.have.any.keys('Mounts', 'Tmpfs', 'Sysctls', 'Init');
    expect(shownHostConfig({ Memory: 64 << 20 })).to.deep.include({ MemorySwap: 128 << 20 });
  });

  it('cleans the working directory', () => {
    const shown = (WorkingDir: string): unknown =>
      shownConfig({ Image: 'box', WorkingDir }, {}, id)['WorkingDir'];
    expect([shown('/tmp/'), shown('/a/../b/./c//'), shown('/')]).to.deep.equal(['/tmp', '/b/c', '/']);
  });

  const image = { Entrypoint: ['/run'], Cmd: ['all'], Env: ['A=image', 'B=image'], Labels: { a: '1' } };
  const programs: [string, object, (string[] | null)[]][] = [
    ['nothing', {}, [['/run'], ['all']]],
    ['a command', { Cmd: ['one'] }, [['/run'], ['one']]],
    ['an entrypoint takes the command away', { Entrypoint: ['/other'] }, [['/other'], null]],
    ['both', { Entrypoint: ['/other'], Cmd: ['x'] }, [['/other'], ['x']]],
    ['an empty entrypoint', { Entrypoint: [''], Cmd: ['x'] }, [null, ['x']]],
  ];
  for (const [what, body, [entrypoint, command]] of programs) {
    it(`takes its program from image and client: ${what}`, () => {
      const shown = shownConfig(body, image, id);
      expect([shown.Entrypoint, shown.Cmd]).to.deep.equal([entrypoint, command]);
    });
  }

  it('lets the client’s variables and labels win', () => {
    const shown = shownConfig({ Env: ['B=own', 'C=own'], Labels: { b: '2' } }, image, id);
    expect(shown.Env).to.deep.equal(['B=own', 'C=own', 'A=image']);
    expect(shown['Labels']).to.deep.equal({ a: '1', b: '2' });
  });

  const refused: [HostConfigDto, string][] = [
    [{ Memory: 1024 }, 'Minimum memory limit allowed is 6MB'],
    [
      { Memory: 64 << 20, MemorySwap: 32 << 20 },
      'Minimum memoryswap limit should be larger than memory limit, see usage',
    ],
    [{ MemorySwappiness: 101 }, 'Invalid value: 101, valid memory swappiness range is 0-100'],
    [{ NanoCpus: 1e9, CpuPeriod: 1000 }, 'Conflicting options: Nano CPUs and CPU Period cannot both be set'],
    [{ NanoCpus: 3e9 }, 'range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available'],
    [
      { CpuPeriod: 10 },
      'CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)',
    ],
    [{ CpuQuota: 10 }, 'CPU cfs quota can not be less than 1ms (i.e. 1000)'],
    [{ CpusetCpus: 'a' }, 'Invalid value a for cpuset cpus'],
    [{ CpusetCpus: '0-5' }, 'Requested CPUs are not available - requested 0-5, available: 0-1'],
    [{ BlkioWeight: 5 }, 'Range of blkio weight is from 10 to 1000'],
  ];
  for (const [host, words] of refused) {
    it(`refuses: ${words}`, () => expect(() => resourcesOf(host, machine)).to.throw(words));
  }

  it('turns limits into what the runtime keeps', () => {
    expect(
      resourcesOf({ Memory: 64 << 20, MemorySwap: -1, CpuQuota: 5000, PidsLimit: -1 }, machine),
    ).to.deep.equal({
      memoryBytes: 64 << 20,
      memorySwapBytes: -1,
      cpuQuotaUs: 5000,
    });
  });

  it('reads log options and tells the attributes they name', () => {
    expect(logOf({})).to.deep.equal({ fileBytesMax: 10 << 20, filesMax: 3 });
    expect(logOf({ LogConfig: { Config: { 'max-size': '1k', 'max-file': '2' } } })).to.deep.equal({
      fileBytesMax: 1024,
      filesMax: 2,
    });
    expect(logOf({ LogConfig: { Type: 'none' } })).to.deep.include({ driver: 'none' });
    expect(() => logOf({ LogConfig: { Config: { colour: 'red' } } })).to.throw("unknown log opt 'colour'");
    const config = {
      labels: { tier: 'web', other: 'x' },
      env: ['A=1', 'B=2'],
      inspect: { hostConfig: { LogConfig: { Config: { labels: 'tier', 'env-regex': '^B' } } } },
    };
    expect(logAttributes(config as never)).to.deep.equal({ B: '2', tier: 'web' });
  });

  it('reads tmpfs options', () => {
    expect(tmpfsOf('/run', 'ro,size=64k,mode=755,exec,uid=5')).to.deep.equal({
      type: 'tmpfs',
      target: '/run',
      readOnly: true,
      bytesMax: 65_536,
      mode: 0o755,
      options: ['exec', 'uid=5'],
    });
    expect(() => tmpfsOf('/run', 'colour=red')).to.throw('invalid tmpfs option ["colour=red"]');
  });

  it('takes an image of the platform only', () => {
    const own = { architecture: 'amd64', os: 'linux' };
    for (const wanted of ['', 'linux', 'linux/amd64', 'amd64', 'linux/x86_64', 'linux/amd64/v1'])
      checkPlatform(wanted, 'box', own);
    expect(() => checkPlatform('linux/arm64', 'box', own)).to.throw(
      'does not provide the specified platform',
    );
    expect(() => checkPlatform('linuxes/amd64', 'box', own)).to.throw('does not provide the specified');
    checkPlatform('LINUX/amd64', 'box', own);
    expect(() => checkPlatform('a b', 'box', own)).to.throw('invalid component');
    const other = { architecture: 's390x', os: 'linux' };
    expect(platformWarnings('linux/s390x', other)).to.deep.equal([]);
    expect(platformWarnings('', other).join()).to.match(
      /^The requested image's platform \(linux\/s390x\) does not match the detected host platform \(linux\/\w+\) and no specific platform was requested$/,
    );
  });
});
