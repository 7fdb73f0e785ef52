import { expect, test } from 'vitest';
import { parseRestorePlan } from '../../src/config/restore-plan.js';
import { failure } from '../operations/lab.js';

const plan = (text: string) => parseRestorePlan(text, '/plans/host.yaml');
const restore = (more: string) => plan(`restores:\n  - revision: vm1\n    target: a.img\n    ${more}\n`);

test('a plan is read with its defaults, relative targets from its directory', () => {
  const read = plan(`
parallel: 3
keep-going: true
restores:
  - {revision: vm1@latest, target: vm1.img, priority: 5, deadline: 1h30m}
  - {revision: vm2, target: /dev/vg/vm2, overwrite: true, expect: k3f9-2mqa, deadline: "2026-11-25T06:00:00+01:00"}
`);
  const common = {
    sameMomentAs: null,
    priority: 0,
    overwrite: false,
    expect: null,
    partition: null,
    volume: null,
  };
  expect(read).toEqual({
    parallel: 3,
    keepGoing: true,
    verify: false,
    restores: [
      {
        ...common,
        revision: 'vm1@latest',
        target: '/plans/vm1.img',
        priority: 5,
        deadline: { afterMs: 5_400_000 },
      },
      {
        ...common,
        revision: 'vm2',
        target: '/dev/vg/vm2',
        overwrite: true,
        expect: 'k3f9-2mqa',
        deadline: { atMs: Date.parse('2026-11-25T05:00:00Z') },
      },
    ],
  });
});

test.each([
  ['an unknown key', 'restore: []', 'line 1: “restore” is not a known key', 'Did you mean “restores”?'],
  [
    'an unknown key of a restore',
    'restores:\n  - {revision: a, traget: b}',
    'line 2',
    'Did you mean “target”?',
  ],
  ['nothing to restore', 'restores: []', 'line 1: “restores” is empty', 'revision: vm1@latest'],
  ['no restores', 'parallel: 2', 'names no “restores”', 'revision: vm1@latest'],
  ['no list', 'restores: {a: b}', 'must be a list', ''],
  ['a restore without a target', 'restores:\n  - revision: a', 'line 2: a restore needs both', 'vm1@latest'],
  [
    'an image of Ceph',
    'restores:\n  - {revision: a, target: "rbd:vms/a"}',
    'line 2: an image of Ceph is no target',
    'rbd device map',
  ],
  ['standard output', 'restores:\n  - {revision: a, target: "-"}', '“-” is no target', ''],
  [
    'the same target twice',
    'restores:\n  - {revision: a, target: x}\n  - {revision: b, target: ./x}',
    'line 3: /plans/x is the target of another restore',
    '',
  ],
  [
    'none at once',
    'parallel: 0\nrestores:\n  - {revision: a, target: x}',
    'line 1: “parallel” must be a whole number from 1',
    '',
  ],
  ['what is not YAML', 'restores: [', 'this is not YAML', ''],
])('%s is an error with its line', (_, text, message, hint) => {
  expect(() => plan(text)).toThrow(expect.toSatisfy((error) => isFailure(error, message, hint)));
});

test.each(['30', 'soon', '2026-11-25T06:00:00', '2026-13-45T06:00:00Z', '[]'])(
  '%s is no deadline',
  (text) => {
    expect(() => restore(`deadline: ${text}`)).toThrow(/deadline|no time that exists/);
  },
);

test('a disk may be meant at the moment of another revision, and then has none of its own', () => {
  expect(restore('same-moment-as: web@latest').restores[0]?.sameMomentAs).toBe('web@latest');
  const both = 'restores:\n  - {revision: data@latest, same-moment-as: web@latest, target: a.img}\n';
  expect(() => plan(both)).toThrow('“revision” names a disk alone');
});

test('a part is a partition or a volume, not both', () => {
  expect(restore('partition: 2').restores[0]?.partition).toBe(2);
  expect(restore('volume: vg/root').restores[0]?.volume).toBe('vg/root');
  expect(() => restore('partition: 2\n    volume: vg/root')).toThrow('exclude each other');
});

function isFailure(error: unknown, message: string, hint: string): boolean {
  return (
    failure('CONFIG_INVALID', message, hint) as { asymmetricMatch(other: unknown): boolean }
  ).asymmetricMatch(error);
}
