/** The part of a configuration that commands need, as one file: what the daemon has taken over, for the commands that it
 *  starts. So a file that is being edited, or is broken, changes nothing before it is taken over. */
import type { Schedule } from '../base/schedule.js';
import type { Config } from './config.js';
import type { DiskConfig } from './disks.js';

/** JSON, which is YAML; `loadConfig` makes the same of it. Durations are in milliseconds, sizes in bytes. */
export function snapshotOf({ repository, disks, limits }: Config): string {
  const named = [...disks.values()].flatMap(({ disk, schedule }) =>
    schedule === null ? [] : [{ disk, schedule }],
  );
  // A schedule for each disk, since disks may change the rules of one that they share.
  const schedules = Object.fromEntries(
    named.map(({ disk, schedule }) => [scheduleName(disk, schedule), rulesOf(schedule)]),
  );
  return JSON.stringify({
    ...(repository === null ? {} : { repository }),
    schedules,
    disks: Object.fromEntries([...disks.values()].map((disk) => [disk.disk, diskOf(disk)])),
    limits: {
      parallel: limits.parallel,
      ...(limits.readRate === null ? {} : { 'read-rate': limits.readRate }),
    },
  });
}

/** Its own name stands first, for people who read of it. */
function scheduleName(disk: string, { name }: Schedule): string {
  return `${name} (${disk})`;
}

function rulesOf({ tags }: Schedule): object {
  return Object.fromEntries(
    [...tags].map(([tag, { everyMs, keep }]) => [tag, { every: `${everyMs}ms`, keep }]),
  );
}

function diskOf(config: DiskConfig): object {
  const { disk, source, schedule, require, readRate, hooks, fullCompareMs, sameMomentAs } = config;
  return {
    ...(source === null ? {} : { source }),
    // One that goes with another disk has its schedule from that.
    ...(schedule === null || sameMomentAs !== null ? {} : { schedule: scheduleName(disk, schedule) }),
    ...(sameMomentAs === null ? {} : { 'same-moment-as': sameMomentAs }),
    ...(fullCompareMs === undefined
      ? {}
      : { 'full-compare': fullCompareMs === null ? 'off' : `${fullCompareMs}ms` }),
    ...(require === null ? {} : { require }),
    ...(readRate === null ? {} : { 'read-rate': readRate }),
    ...(hooks === null
      ? {}
      : {
          hooks: {
            ...(hooks.before === null ? {} : { before: hooks.before }),
            ...(hooks.after === null ? {} : { after: hooks.after }),
            timeout: `${hooks.timeoutMs}ms`,
            'on-failure': hooks.onFailure,
            ...(hooks.gives === null ? {} : { gives: hooks.gives }),
            ...(hooks.changedExtents === null ? {} : { 'changed-extents': hooks.changedExtents }),
          },
        }),
  };
}
