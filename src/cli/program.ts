/** The program: its options, its commands, its help. */
import { Command } from 'commander';
import { VERSION } from '../base/version.js';
import * as backup from './commands/backup.js';
import * as catalog from './commands/catalog.js';
import * as collect from './commands/collect.js';
import * as compare from './commands/compare.js';
import * as completion from './commands/completion.js';
import * as demo from './commands/demo.js';
import * as diff from './commands/diff.js';
import * as disk from './commands/disk.js';
import * as doctor from './commands/doctor.js';
import * as files from './commands/files.js';
import * as init from './commands/init.js';
import * as instant from './commands/instant.js';
import * as list from './commands/list.js';
import * as log from './commands/log.js';
import * as mount from './commands/mount.js';
import * as operations from './commands/operations.js';
import * as protect from './commands/protect.js';
import * as prune from './commands/prune.js';
import * as remove from './commands/remove.js';
import * as restore from './commands/restore.js';
import * as restoreMany from './commands/restore-many.js';
import * as scrub from './commands/scrub.js';
import * as show from './commands/show.js';
import * as tag from './commands/tag.js';
import * as trust from './commands/trust.js';
import * as umount from './commands/umount.js';
import * as unprotect from './commands/unprotect.js';
import type { ProcessContext } from './context.js';
import { addGlobals, readGlobals } from './globals.js';
import { addExamples, closingHelp } from './help.js';

/** A command file registers itself; what it needs beyond its options it loads when it runs. */
const COMMANDS = [
  init,
  backup,
  list,
  show,
  log,
  diff,
  mount,
  umount,
  files,
  restore,
  instant,
  restoreMany,
  tag,
  protect,
  unprotect,
  trust,
  remove,
  prune,
  collect,
  scrub,
  compare,
  disk,
  doctor,
  operations,
  catalog,
  completion,
  demo,
];

export function buildProgram(context: ProcessContext): Command {
  const program = new Command('cairn')
    .description('Block-level backup whose every revision of every disk is there as a file.')
    .version(VERSION, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this help, or that of a command')
    .helpCommand(false)
    .configureOutput({
      // Errors are told once, by whoever catches them, as text or as JSON.
      outputError: () => {},
      getOutHelpWidth: () => Math.min(process.stdout.columns || 100, 110),
    })
    .exitOverride();
  addGlobals(program);
  for (const command of COMMANDS) command.register(program, context);
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
