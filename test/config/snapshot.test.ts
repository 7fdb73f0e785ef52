/** What the daemon gives the commands that it starts. */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { loadConfig } from '../../src/config/config.js';
import { snapshotOf } from '../../src/config/snapshot.js';
import { tempDir } from '../temp-dir.js';

const EVERYTHING = `repository: /backup
schedules: {all: {hourly: {every: 1h, keep: 24}, daily: {every: 1d, keep: 14}}}
disks:
  web:
    source: "qemu:/run/web.qmp/d0"
    schedule: all
    tags: {daily: {keep: 30}}
    require: frozen
    read-rate: 200MB
    full-compare: 7d
    hooks: {before: a, after: b, timeout: 30s, on-failure: continue, gives: frozen, changed-extents: /run/x}
  data: {source: "qemu:/run/web.qmp/d1", same-moment-as: web, full-compare: off}
  plain: {}
limits: {parallel: 3, read-rate: 1GB}
`;

function load(text: string) {
  const config = path.join(tempDir(), 'cairn.yaml');
  writeFileSync(config, text);
  return loadConfig({ config }, {});
}

test('commands get all that the configuration says of disks', () => {
  const taken = load(EVERYTHING);
  const given = load(snapshotOf(taken));
  const disks = ({ disks: all }: typeof taken) =>
    [...all.values()].map(({ schedule, ...disk }) => ({ ...disk, tags: [...(schedule?.tags ?? [])] }));
  expect(disks(given)).toEqual(disks(taken));
  expect(given.repository).toBe('/backup');
  expect(given.limits).toMatchObject({ parallel: 3, readRate: 1_000_000_000 });
  // Whatever a disk can say stands above, so that a key that comes later is not forgotten here.
  const [web, data] = disks(taken);
  const isSaid = (value: unknown) => value !== null && value !== undefined;
  for (const key of Object.keys(web ?? {}) as (keyof NonNullable<typeof web>)[])
    expect([key, isSaid(web?.[key]) || isSaid(data?.[key])]).toEqual([key, true]);
  for (const [key, value] of Object.entries(web?.hooks ?? {})) expect([key, value]).not.toEqual([key, null]);
});
