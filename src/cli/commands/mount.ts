/** cairn mount <dir> [disk…] */
import { type Command, Option } from 'commander';
import { visible } from '../../base/visible.js';
import { ENGINE_NAMES, type EngineName } from '../../mount/engine/engine.js';
import type { MountOptions, MountResult } from '../../mount/session/mount.js';
import type { CliContext } from '../context.js';
import { addExamples, GROUPS } from '../help.js';

interface Options {
  readonly engine?: EngineName;
  readonly foreground?: true;
  readonly allowOther?: true;
  readonly group?: string;
}

/** A server that stays in the foreground ends as any interrupted command does, once it has unmounted. */
const EXIT_CODES = { SIGINT: 130, SIGTERM: 143 } as const;

export function register(program: Command, context: CliContext): void {
  const command = program
    .command('mount')
    .helpGroup(GROUPS.looking)
    .summary('show every revision as a file')
    .description(
      'Mounts the repository, read-only: every revision of every disk as a raw image, its partitions and\n' +
        'logical volumes as images too. New revisions appear by themselves. Returns when the mount is ready.',
    )
    .argument('<dir>', 'an empty directory')
    .argument('[disk...]', 'show these disks alone')
    .addOption(
      new Option('--engine <engine>', 'what serves the mount').choices(ENGINE_NAMES).default(ENGINE_NAMES[0]),
    )
    .option('--foreground', 'stay until unmounted or interrupted')
    .option(
      '--allow-other',
      'let other users in as far as the permissions go; needs root or user_allow_other',
    )
    .option('--group <group>', 'let a group read, which takes in --allow-other')
    .action(async (mountpoint: string, disks: string[], options: Options) => {
      const repository = await context.repositoryDirectory();
      const { logLevel } = context.globals;
      const all = { repository, mountpoint, disks, logLevel, ...options };
      if (options.foreground === true) await stayMounted(context, all);
      else show(context, await (await import('../../mount/session/mount.js')).mount(all));
    });
  addExamples(
    command,
    ['cairn mount /mnt/cairn', 'show all disks'],
    ['cairn mount /mnt/cairn web01 --group backup', 'one disk, readable for the group backup'],
    ['ls /mnt/cairn/web01/latest/', 'the image, partitions, volumes and manifest of the newest revision'],
  );
}

function show(context: CliContext, { mountpoint, pid }: MountResult): void {
  context.output.done({ mountpoint, pid }, `Mounted at ${visible(mountpoint)} (pid ${pid}).`);
}

async function stayMounted(context: CliContext, options: MountOptions): Promise<void> {
  const [{ mountInForeground }, { createLogger }] = await Promise.all([
    import('../../mount/session/mount.js'),
    import('../../base/log.js'),
  ]);
  for (const [name, code] of Object.entries(EXIT_CODES)) {
    process.once(name, () => {
      process.exitCode = code;
    });
  }
  const { signal } = context;
  const log = createLogger(context.globals.logLevel);
  const wasUnmounted = await mountInForeground({ ...options, log, signal }, (result) =>
    show(context, result),
  );
  if (!wasUnmounted) process.exitCode = 1;
}
