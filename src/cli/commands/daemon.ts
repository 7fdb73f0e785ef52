/** cairn daemon */
import type { Command } from 'commander';
import { notifySystemd, reloading, watchdogMs } from '../../base/systemd-notify.js';
import type { CliContext } from '../context.js';
import { addExamples, GROUPS } from '../help.js';

interface Options {
  readonly logFile?: string;
}

export function register(program: Command, context: CliContext): void {
  const command = program
    .command('daemon')
    .helpGroup(GROUPS.running)
    .summary('run the schedule')
    .description(
      'Begins what the schedules say, as “cairn backup”, “prune”, “collect” and “scrub” commands that could be run\n' +
        'by hand as well, and writes twice a minute how everything stands. It stays in the foreground. SIGHUP reads\n' +
        'the configuration again and opens the log file anew; SIGTERM ends it and what it had begun within seconds,\n' +
        'and the next start goes on from there. One daemon a repository.',
    )
    .option('--log-file <file>', 'write the log there instead of to stderr')
    .action(({ logFile }: Options) =>
      context.withRepository(async (repository) => {
        const [{ runDaemon }, { scheduleOptions }] = await Promise.all([
          import('../../daemon/run-daemon.js'),
          import('../schedule-options.js'),
        ]);
        // A log that says nothing as long as all is well would not tell that it is.
        const { options, reopenLog } = scheduleOptions(context, repository, {
          logLevel: 'info',
          isOnce: false,
          logFile,
        });
        let reload = () => {};
        // From here on: a reload that comes early must not end the process.
        process.on('SIGHUP', async () => {
          await notifySystemd(reloading());
          reopenLog();
          reload();
          await notifySystemd('READY=1');
        });
        context.signal.addEventListener('abort', () => void notifySystemd('STOPPING=1'), { once: true });
        await runDaemon(repository, {
          ...options,
          onReady: () => void notifySystemd('READY=1'),
          onReload: (given) => {
            reload = given;
          },
          onAlive: watchdog(),
        });
      }),
    );
  addExamples(
    command,
    ['cairn -c /etc/cairn/cairn.yaml daemon', 'in the foreground, as a service manager wants it'],
    ['systemctl enable --now cairn@cairn', 'as a service, see docs/operations.md'],
  );
}

/** Tells systemd that all is well, as often as it wants to hear it. */
function watchdog(): () => void {
  const everyMs = watchdogMs();
  let lastMs = Number.NEGATIVE_INFINITY;
  return () => {
    if (everyMs === null || performance.now() - lastMs < everyMs) return;
    lastMs = performance.now();
    void notifySystemd('WATCHDOG=1');
  };
}
