/** The man page, out of the same program that prints the help. */
import type { Command, Option } from 'commander';
import { VERSION } from '../base/version.js';
import { visibleCommands } from './completion/candidates.js';
import { EXIT_CODE_MEANINGS } from './exit-codes.js';
import { examplesOf } from './help.js';

/** cairn(1) as roff. */
export function manPage(program: Command): string {
  const sections = [
    `.TH CAIRN 1 "" "cairn ${VERSION}" "User Commands"`,
    section('NAME', `cairn \\- ${roff(firstSmall(program.description()))}`),
    section(
      'SYNOPSIS',
      '.B cairn\n[\\fIoptions\\fR] \\fIcommand\\fR [\\fIcommand options\\fR] [\\fIarguments\\fR]',
    ),
    section('OPTIONS', optionList(program.options)),
    section('COMMANDS', leaves(program).map(commandEntry).join('\n')),
    section('REVISION EXPRESSIONS', EXPRESSIONS),
    section('EXIT STATUS', EXIT_CODE_MEANINGS.map((exit) => tagged(`${exit.code}`, exit.meaning)).join('\n')),
    section('EXAMPLES', examplesOf(program).map(example).join('\n')),
  ];
  return `${sections.join('\n')}\n`;
}

const EXPRESSIONS = [
  ['disk@latest', 'the newest revision that is not distrusted'],
  ['disk@latest~2', 'the third newest'],
  ['disk@20261120T201500Z-k3f9', 'a full id'],
  ['disk@golden', 'the newest with this tag'],
  ['disk@2026-11-20T12:00', 'the newest at or before; local time unless a zone is given'],
  ['disk@20261120T20', 'the only one whose id begins so'],
]
  .map(([expression = '', means = '']) => tagged(expression, means))
  .join('\n');

/** Commands that do something, in the order of help; a group such as `disk` is its members. */
function leaves(command: Command): Command[] {
  return visibleCommands(command).flatMap((child) => (child.commands.length > 0 ? leaves(child) : [child]));
}

function commandEntry(command: Command): string {
  const names: string[] = [];
  for (let one: Command | null = command; one !== null; one = one.parent) names.unshift(one.name());
  const usage = command.usage().replace('[options]', '').trim();
  return [
    `.SS ${roff(`${names.join(' ')} ${usage}`.trim())}`,
    roff(command.description()),
    optionList(command.options),
    ...examplesOf(command).map(example),
  ]
    .filter((part) => part !== '')
    .join('\n');
}

function optionList(options: readonly Option[]): string {
  return options
    .filter((option) => !option.hidden)
    .map((option) => tagged(option.flags, option.description))
    .join('\n');
}

function example({ command, says }: { command: string; says: string }): string {
  return `.PP\n${roff(says)}:\n.PP\n.RS 4\n.nf\n${roff(command)}\n.fi\n.RE`;
}

function section(title: string, body: string): string {
  return `.SH ${title}\n${body}`;
}

function tagged(tag: string, text: string): string {
  return `.TP\n.B ${roff(tag)}\n${roff(text)}`;
}

/** A backslash, a hyphen that must stay one, and a line that would be taken for a request. */
function roff(text: string): string {
  return text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll('~', '\\(ti')
    .replace(/^([.'])/gm, '\\&$1');
}

function firstSmall(text: string): string {
  return (text.charAt(0).toLowerCase() + text.slice(1)).replace(/\.$/, '');
}
