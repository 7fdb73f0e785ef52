import { describe, expect, it } from 'vitest';
import { parseFstabMount } from '../../src/cli/fstab-mount.js';

const parse = (...options: string[]) => parseFstabMount(['/repo', '/mnt', ...options]);
const refusal = (...argv: string[]) => {
  try {
    parseFstabMount(argv);
    return null;
  } catch (error) {
    return error;
  }
};

describe('what mount(8) hands on', () => {
  it('is read as a line of fstab means it', () => {
    const line =
      'ro,noexec,nosuid,nodev,allow_other,disk=web01,disk=db=1,group=backup,nofail,_netdev,user,x-systemd.automount';
    expect(parse('-n', '-v', '-o', line)).toEqual({
      repository: '/repo',
      mountpoint: '/mnt',
      disks: ['web01', 'db=1'],
      group: 'backup',
      allowOther: true,
      fake: false,
      verbose: true,
    });
  });

  it('may hold a type, several lists of options, and letters in one word', () => {
    expect(parse('-t', 'cairn.x', '-fs', '-o', 'rw', '-o', 'ro,engine=fuse-native,blah')).toMatchObject({
      engine: 'fuse-native',
      fake: true,
    });
  });

  it.each([
    [['-o', 'rw'], /read-only/, /Write ro/],
    [['-o', 'defaults,rw'], /read-only/, /Write ro/],
    [['-o', 'ro,remount'], /cannot be changed/, undefined],
    [['-o', 'ro,blah=7'], /no option “blah=7”/, /allow_other, disk, engine, group/],
    [['-o', 'ro,allow_othr'], /no option “allow_othr”/, /Did you mean “allow_other”/],
    [['-o', 'engine=steam'], /no engine “steam”/, /fuse-native/],
    [['-o', 'disk='], /disk= needs a value/, undefined],
    [['-o', 'group'], /group= needs a value/, undefined],
    [['-N', '/proc/1/ns/mnt'], /another namespace/, undefined],
    [['-x'], /no option -x/, undefined],
    [['/third'], /takes a repository and a directory/, /mount -t cairn/],
  ])('is refused in words: %j', (options, message, hint) => {
    expect(refusal('/repo', '/mnt', ...options)).toMatchObject({
      code: 'USAGE',
      message: expect.stringMatching(message),
      hint: hint === undefined ? undefined : expect.stringMatching(hint),
    });
  });

  it('is not enough without a directory', () => {
    expect(refusal('/repo')).toMatchObject({ code: 'USAGE' });
  });
});
