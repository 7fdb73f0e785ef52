/** The metrics that there are for each disk. */
import { type Measured, seconds, unixSeconds } from './metrics-values.js';
import type { DiskOverview } from './overview.js';

type DiskMetric = readonly [name: string, help: string, measure: (disk: DiskOverview) => Measured];

const LAST = 'of the last backup that came to its end';

export const DISK_METRICS: readonly DiskMetric[] = [
  [
    'cairn_disk_info',
    'The schedule of a disk, empty where it has none; always 1',
    ({ schedule }) => [{ labels: { schedule: schedule ?? '' }, value: 1 }],
  ],
  [
    'cairn_disk_service_level_met',
    'Whether the newest good revision is as young as the schedule wants it',
    ({ service }) => (service === null ? null : Number(service.isMet)),
  ],
  [
    'cairn_disk_age_limit_seconds',
    'How old the newest good revision may be',
    ({ service }) => seconds(service?.limitMs),
  ],
  [
    'cairn_disk_last_success_timestamp_seconds',
    'When the newest good revision was taken',
    ({ newestGood }) => unixSeconds(newestGood?.createdAt),
  ],
  [
    'cairn_disk_oldest_timestamp_seconds',
    'When the oldest revision was taken',
    ({ oldestAt }) => unixSeconds(oldestAt),
  ],
  [
    'cairn_disk_next_due_timestamp_seconds',
    'When the next backup begins; it may have passed where one waits for its turn',
    ({ next }) => unixSeconds(next?.at),
  ],
  ['cairn_disk_on_hold', 'Whether a person keeps the schedule from it', ({ hold }) => Number(hold !== null)],
  [
    'cairn_disk_consecutive_failures',
    'Backups that failed since the last good one',
    ({ failures }) => failures,
  ],
  [
    'cairn_disk_last_failure',
    'Why the last backup failed; always 1, and gone with the next good one',
    lastFailure,
  ],
  [
    'cairn_disk_last_failure_timestamp_seconds',
    'When a backup failed last',
    ({ lastFailure: failure }) => unixSeconds(failure?.at),
  ],
  [
    'cairn_disk_last_backup_end_timestamp_seconds',
    `End ${LAST}`,
    ({ lastBackup }) => unixSeconds(lastBackup?.endedAt),
  ],
  [
    'cairn_disk_last_backup_duration_seconds',
    `Duration ${LAST}`,
    ({ lastBackup }) => seconds(lastBackup?.durationMs),
  ],
  [
    'cairn_disk_last_backup_read_bytes',
    `What was read from the source ${LAST}`,
    ({ lastBackup }) => lastBackup?.readBytes ?? null,
  ],
  [
    'cairn_disk_last_backup_changed_bytes',
    `What differed from the revision before ${LAST}`,
    ({ lastBackup }) => lastBackup?.changedBytes ?? null,
  ],
  [
    'cairn_disk_last_backup_stored_bytes',
    `What was added to the repository ${LAST}`,
    ({ lastBackup }) => lastBackup?.storedBytes ?? null,
  ],
  [
    'cairn_disk_last_backup_early_warnings',
    `Early warnings ${LAST}`,
    ({ lastBackup }) => lastBackup?.earlyWarnings.length ?? null,
  ],
  ['cairn_disk_size_bytes', 'Size of the disk in its newest revision', ({ sizeBytes }) => sizeBytes],
  [
    'cairn_disk_stored_bytes',
    'What its revisions that are there have added to the repository',
    ({ storedBytes }) => storedBytes,
  ],
  ['cairn_disk_revisions', 'Revisions that are there', ({ revisions }) => revisions],
  ['cairn_disk_distrusted_revisions', 'Of these, those that are distrusted', ({ distrusted }) => distrusted],
  [
    'cairn_disk_protected_revisions',
    'Of these, those that nothing removes',
    ({ protected: isProtected }) => isProtected,
  ],
  [
    'cairn_disk_last_scrub_timestamp_seconds',
    'When all that it stores was last read and verified',
    ({ lastScrub }) => unixSeconds(lastScrub?.at),
  ],
  [
    'cairn_disk_damaged_records',
    'Damaged records that the last scrub found',
    ({ lastScrub }) => lastScrub?.recordsDamaged ?? null,
  ],
  [
    'cairn_disk_unreadable',
    'Whether something keeps its log or its revisions from being looked at',
    ({ problem }) => Number(problem !== null),
  ],
];

/** Codes come from a log, in which anything may stand. */
function lastFailure({ failures, lastFailure: failure }: DiskOverview): Measured {
  if (failures === 0 || failure === null) return null;
  const code = /^[A-Z][A-Z_]{0,31}$/.test(failure.code) ? failure.code : 'OTHER';
  return [{ labels: { code }, value: 1 }];
}
