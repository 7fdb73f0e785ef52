/** The program: its options, its commands, its help. */
import { Command } from 'commander';
import { VERSION } from '../base/version.js';
import type { ProcessContext } from './context.js';
import { addGlobals, readGlobals } from './globals.js';
import { addExamples, closingHelp } from './help.js';

interface CommandFile {
  register(program: Command, context: ProcessContext): void;
}

/** A command file registers itself; what it needs beyond its options it loads when it runs. In the order of the help. */
const COMMANDS: ReadonlyMap<string, () => Promise<CommandFile>> = new Map([
  ['init', () => import('./commands/init.js')],
  ['backup', () => import('./commands/backup.js')],
  ['list', () => import('./commands/list.js')],
  ['show', () => import('./commands/show.js')],
  ['log', () => import('./commands/log.js')],
  ['diff', () => import('./commands/diff.js')],
  ['mount', () => import('./commands/mount.js')],
  ['umount', () => import('./commands/umount.js')],
  ['files', () => import('./commands/files.js')],
  ['restore', () => import('./commands/restore.js')],
  ['instant', () => import('./commands/instant.js')],
  ['restore-many', () => import('./commands/restore-many.js')],
  ['tag', () => import('./commands/tag.js')],
  ['protect', () => import('./commands/protect.js')],
  ['unprotect', () => import('./commands/unprotect.js')],
  ['trust', () => import('./commands/trust.js')],
  ['remove', () => import('./commands/remove.js')],
  ['prune', () => import('./commands/prune.js')],
  ['collect', () => import('./commands/collect.js')],
  ['scrub', () => import('./commands/scrub.js')],
  ['compare', () => import('./commands/compare.js')],
  ['disk', () => import('./commands/disk.js')],
  ['doctor', () => import('./commands/doctor.js')],
  ['operations', () => import('./commands/operations.js')],
  ['status', () => import('./commands/status.js')],
  ['check', () => import('./commands/check.js')],
  ['due', () => import('./commands/due.js')],
  ['hold', () => import('./commands/hold.js')],
  ['notify', () => import('./commands/notify.js')],
  ['run', () => import('./commands/run.js')],
  ['daemon', () => import('./commands/daemon.js')],
  ['config', () => import('./commands/config.js')],
  ['catalog', () => import('./commands/catalog.js')],
  ['completion', () => import('./commands/completion.js')],
  ['demo', () => import('./commands/demo.js')],
]);

/** The program as `argv` needs it: with the one command that it names, or with all where it names none, since help,
 *  completion and a wrong word want to know all of them. To load a file takes longer than most of what commands do. */
export async function buildProgram(context: ProcessContext, argv: readonly string[]): Promise<Command> {
  const files = await Promise.all(wanted(argv).map((load) => load()));
  const program = new Command('cairn')
    .description('Block-level backup whose every revision of every disk is there as a file.')
    .version(VERSION, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help, or that of a command')
    .helpCommand(false)
    // Lines are broken where the terminal ends, not where the source does.
    .configureHelp({ commandDescription: (command) => command.description().replace(/\n/g, ' ') })
    .configureOutput({
      // Errors are told once, by whoever catches them, as text or as JSON.
      outputError: () => {},
      getOutHelpWidth: () => Math.min(process.stdout.columns || 100, 110),
    })
    .exitOverride();
  addGlobals(program);
  for (const file of files) file.register(program, context);
  addExamples(
    program,
    ['cairn -r /backup init', 'make a repository'],
    ['cairn -r /backup backup vm1 --source /dev/vg0/vm1', 'take a revision of a disk'],
    ['cairn -r /backup mount /mnt/cairn', 'look at every revision as a file'],
  );
  program.addHelpText('afterAll', ({ command }) => closingHelp(command));
  program.hook('preAction', () => context.begin(readGlobals(program)));
  return program;
}

function wanted(argv: readonly string[]): (() => Promise<CommandFile>)[] {
  const scout = new Command().exitOverride().option('-V, --version');
  addGlobals(scout);
  try {
    const [word = ''] = scout.parseOptions([...argv]).operands;
    if (scout.getOptionValue('version') === true) return [];
    const named = COMMANDS.get(word);
    if (named !== undefined) return [named];
  } catch {
    // An option is wrong. The program says so itself when it parses in earnest.
  }
  return [...COMMANDS.values()];
}

/** The words that name the command that was meant: `cairn disk rename`, for a hint. */
export function commandPath(program: Command, argv: readonly string[]): string {
  let command: Command = program;
  const path = [program.name()];
  for (const word of argv.filter((argument) => !argument.startsWith('-'))) {
    const child = command.commands.find((candidate) => candidate.name() === word);
    if (child === undefined) continue;
    path.push(word);
    command = child;
  }
  return path.join(' ');
}
