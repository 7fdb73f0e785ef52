/** The daemon from its start to its end, and `run --due`, which does the same once. */
import { setTimeout as sleep } from 'node:timers/promises';
import { CairnError } from '../base/errors.js';
import type { Logger } from '../base/log.js';
import { systemError } from '../base/system-error.js';
import { visible } from '../base/visible.js';
import type { Config } from '../config/config.js';
import { snapshotOf } from '../config/snapshot.js';
import { shortestEvery } from '../policy/due.js';
import { writeDurably } from '../repository/durable.js';
import type { Layout } from '../repository/layout.js';
import type { Repository } from '../repository/repository.js';
import { Daemon, type Listener } from './daemon.js';
import { takeDaemonLock } from './daemon-lock.js';
import { commandStarter, type StartCommand } from './runner.js';

export interface RunOptions {
  /** Reads the configuration; called again at each reload. */
  readonly load: () => Config;
  /** The program and its options, to which `backup …` and the like are added. */
  readonly program: readonly string[];
  readonly log: Logger;
  readonly signal: AbortSignal;
  readonly makeListener: (config: Config) => Listener;
}

export interface DaemonRun extends RunOptions {
  /** Called once everything is there. */
  readonly onReady: () => void;
  /** Gives the daemon's reload to whoever hears signals. */
  readonly onReload: (reload: () => void) => void;
  /** Called at each look, for a watchdog. */
  readonly onAlive: () => void;
}

const LOOK_MS = 1000;
/** Four of the daemon's own. */
const STALE_AFTER_MS = 120_000;

/** Runs until the signal is given; then what it had begun ends, and it resolves.
 *  @throws {CairnError} CONFIG_INVALID | LOCKED | READ_ONLY | IO before anything was begun */
export async function runDaemon(repo: Repository, options: DaemonRun): Promise<void> {
  const { log, signal } = options;
  await withSchedule(repo, 'cairn daemon', options, STALE_AFTER_MS, async (daemon, listener) => {
    options.onReload(() => {
      daemon.reload(options.load, (config) => keepTaken(repo.layout, config));
      listener.reconfigure(daemon.config);
    });
    options.onReady();
    log.info({ directory: repo.dir, disks: daemon.config.disks.size }, 'the daemon is at work');
    while (!signal.aborted) {
      await daemon.look();
      void listener.deliver();
      options.onAlive();
      await sleep(LOOK_MS, undefined, { signal }).catch(() => {});
    }
    log.info('ending; what runs is stopped');
    await daemon.stop();
    await daemon.tell();
  });
}

/** Begins what is due now, and what that makes due, and resolves when it has ended.
 *  @returns how many jobs there were
 *  @throws {CairnError} as `runDaemon`; CANCELLED */
export async function runDue(
  repo: Repository,
  options: RunOptions,
): Promise<{ jobs: number; failed: number }> {
  const { signal } = options;
  let [jobs, failed] = [0, 0];
  const counted = (start: StartCommand): StartCommand => {
    return (words, onProgress) => {
      const command = start(words, onProgress);
      void command.ended.then(({ end }) => {
        if (end === 'failed') failed += 1;
      });
      return command;
    };
  };
  await withSchedule(
    repo,
    'cairn run --due',
    options,
    null,
    async (daemon, listener) => {
      const stop = () => void daemon.stop();
      signal.addEventListener('abort', stop, { once: true });
      for (;;) {
        const begun = await daemon.look();
        jobs += begun;
        if (begun === 0 && daemon.runningCount === 0) break;
        await daemon.untilOneEnded();
      }
      signal.removeEventListener('abort', stop);
      await daemon.tell();
      // What just came up shall not wait for the next run.
      if (!signal.aborted) await listener.deliver();
    },
    counted,
  );
  if (signal.aborted) throw new CairnError('CANCELLED', 'Cancelled.');
  return { jobs, failed };
}

async function withSchedule(
  repo: Repository,
  holder: string,
  options: RunOptions,
  staleAfterMs: number | null,
  work: (daemon: Daemon, listener: Listener) => Promise<void>,
  wrapped: (start: StartCommand) => StartCommand = (start) => start,
): Promise<void> {
  repo.requireWritable();
  const lock = takeDaemonLock(repo.layout, holder);
  try {
    const config = options.load();
    keepTaken(repo.layout, config);
    const listener = options.makeListener(config);
    const program = [...options.program, '-r', repo.dir, '-c', repo.layout.takenConfig];
    const daemon = new Daemon(repo, {
      config,
      start: wrapped(commandStarter(() => program)),
      log: options.log,
      nowMs: Date.now,
      listener,
      staleAfterMs: (now) => staleAfterMs ?? longestSilence(now),
    });
    try {
      await work(daemon, listener);
    } finally {
      await daemon.stop();
      await listener.close();
    }
  } finally {
    lock.release();
  }
}

/** Writes down what commands are to be started with. */
function keepTaken(layout: Layout, config: Config): void {
  try {
    writeDurably(layout.takenConfig, `${snapshotOf(config)}\n`);
  } catch (cause) {
    throw systemError(`${visible(layout.takenConfig)} cannot be written`, cause);
  }
}

/** Until the next run from cron must have come: one and a half of the shortest interval, and an hour at least. */
function longestSilence({ disks }: Config): number {
  const everyMs = [...disks.values()].flatMap(({ schedule }) =>
    schedule === null ? [] : [shortestEvery(schedule)],
  );
  return Math.max(3_600_000, 1.5 * Math.min(...everyMs, 86_400_000));
}
