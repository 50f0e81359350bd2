import { expect } from 'chai';
import { SimDisk } from './disk.js';
import { SeededRandom } from './random.js';

const bytes = (text: string): Buffer => Buffer.from(text);

function content(disk: SimDisk, path: string): string {
  const file = disk.open(path, 'read');
  const into = Buffer.alloc(file.size());
  file.read(into, 0);
  return into.toString();
}

function diskWith(seed: number, path: string, text: string): SimDisk {
  const disk = new SimDisk(new SeededRandom(seed));
  disk.makeDirectory('/d');
  disk.syncDirectory('/');
  const file = disk.open(path, 'create');
  file.write(bytes(text), 0);
  file.sync();
  disk.syncDirectory('/d');
  return disk;
}

/** What `look` sees, over many ways in which a crash can go. */
function outcomes(look: (disk: SimDisk, seed: number) => string): string[] {
  const seen = new Set<string>();
  for (let seed = 1; seed <= 300; seed++) seen.add(look(diskWith(seed, '/d/a', 'old!'), seed));
  return [...seen].sort();
}

describe('sim: disk', () => {
  it('keeps what was synced through any crash', () => {
    expect(
      outcomes((disk) => {
        disk.crash();
        return content(disk, '/d/a');
      }),
    ).to.deep.equal(['old!']);
  });

  it('keeps the rest of a file around an unsynced write', () => {
    const long = 'x'.repeat(2000);
    for (let seed = 1; seed <= 50; seed++) {
      const disk = diskWith(seed, '/d/a', long);
      disk.open('/d/a', 'write').write(bytes('yy'), 600);
      disk.crash();
      expect(content(disk, '/d/a').replace('yy', 'xx')).to.equal(long);
    }
  });

  it('loses, keeps or tears what was not synced, sector by sector', () => {
    const seen = outcomes((disk) => {
      disk.open('/d/a', 'write').write(Buffer.alloc(1536, 'n'), 0);
      disk.crash();
      const text = content(disk, '/d/a');
      const sectors = [text.slice(0, 512), text.slice(512, 1024), text.slice(1024)];
      return sectors
        .map((sector) => (sector === '' ? '' : (sector.at(-1) ?? '')))
        .join(',')
        .replaceAll('\0', '0');
    });
    expect(seen).to.include('!,,').and.include('n,n,n').and.include('0,0,n').and.include('n,0,0');
  });

  it('forgets an unsynced cut, or keeps it', () => {
    const seen = outcomes((disk) => {
      disk.open('/d/a', 'write').truncate(1);
      disk.crash();
      return content(disk, '/d/a').replaceAll('\0', '0');
    });
    expect(seen).to.include('o').and.include('old!');
  });

  it('keeps a first part of the unsynced changes of names', () => {
    const seen = outcomes((disk) => {
      disk.rename('/d/a', '/d/b');
      disk.open('/d/c', 'create');
      disk.remove('/d/b');
      disk.crash();
      return disk.list('/d').join(' ');
    });
    expect(seen).to.deep.equal(['a', 'b', 'b c', 'c']);
  });

  it('loses a folder whose name was not synced, with all that is in it', () => {
    const seen = outcomes((disk) => {
      disk.makeDirectory('/d/e');
      disk.open('/d/e/f', 'create');
      disk.syncDirectory('/d/e');
      disk.crash();
      return disk.list('/d/e').join(' ');
    });
    expect(seen).to.deep.equal(['', 'f']);
  });

  it('keeps everything when only the process ended', () => {
    const disk = diskWith(1, '/d/a', 'old!');
    disk.open('/d/a', 'write').write(bytes('new'), 0);
    expect(content(disk, '/d/a')).to.equal('new!');
  });

  it('goes down at the chosen operation, maybe in the middle of a write, and does nothing until it is up again', () => {
    const seen = outcomes((disk) => {
      const file = disk.open('/d/a', 'write');
      disk.crashAfterOperations = 1;
      file.write(bytes('ne'), 0);
      expect(() => file.write(bytes('w!'), 2)).to.throw('CRASH');
      expect(() => file.sync()).to.throw('CRASH');
      expect(disk.isDead).to.equal(true);
      disk.crash();
      return content(disk, '/d/a');
    });
    expect(seen).to.include('old!').and.include('new!');
  });

  it('says that it is full, with part of the write done', () => {
    const disk = diskWith(1, '/d/a', 'old!');
    disk.capacityBytes = 6;
    expect(() => disk.open('/d/a', 'write').write(bytes('1234'), 4)).to.throw('ENOSPC');
    expect(content(disk, '/d/a')).to.equal('old!12');
    disk.open('/d/a', 'write').write(bytes('news'), 0);
    expect(content(disk, '/d/a')).to.equal('news12');
  });

  it('may have lost what a failed sync was to keep', () => {
    const seen = outcomes((disk) => {
      disk.failingSyncs = 1;
      const file = disk.open('/d/a', 'write');
      file.write(bytes('new!'), 0);
      expect(() => file.sync()).to.throw('EIO');
      disk.crash();
      return content(disk, '/d/a');
    });
    expect(seen).to.deep.equal(['new!', 'old!']);
  });

  it('flips one bit of what was synced and says where', () => {
    const disk = diskWith(1, '/d/a', 'old!');
    const flipped = disk.flipBit();
    expect(flipped?.path).to.equal('/d/a');
    const now = bytes(content(disk, '/d/a'));
    const differing = [...bytes('old!')].flatMap((byte, at) => ((byte ^ (now[at] ?? 0)) === 0 ? [] : [at]));
    expect(differing).to.deep.equal([flipped?.offset]);
  });
});
