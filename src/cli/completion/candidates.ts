/** What may come next on a command line that is being typed. The shells' scripts only ask and show. */
import type { Argument, Command, Option } from 'commander';

export interface Candidate {
  readonly word: string;
  readonly says: string;
}

/** A shell completes paths better than anyone else could. */
export type Completion = readonly Candidate[] | 'files' | 'directories' | 'nothing';

/** Looked up only when a name is really asked for. */
export interface Names {
  /** `repository` is what -r says on the line, as it was typed. */
  disks(repository: string | undefined): readonly Candidate[];
  /** `typed` is the beginning of an expression: candidates complete its disk, or what follows the `@`. */
  revisions(repository: string | undefined, typed: string): readonly Candidate[];
}

/** `words` are those after `cairn`, the last one being typed (perhaps empty). */
export function complete(program: Command, words: readonly string[], names: Names): Completion {
  const typed = words.at(-1) ?? '';
  const line = readLine(program, words.slice(0, -1));
  const completion =
    line.pending === null ? next(line, typed, names) : value(line, line.pending, typed, names);
  return typeof completion === 'string' ? completion : completion.filter((one) => one.word.startsWith(typed));
}

/** What the finished words of a line have come to. */
interface Line {
  readonly command: Command;
  readonly options: readonly Option[];
  readonly operandCount: number;
  /** An option that waits for its value. */
  readonly pending: Option | null;
  readonly repository: string | undefined;
  readonly optionsEnded: boolean;
}

function readLine(program: Command, finished: readonly string[]): Line {
  let line: Line = {
    command: program,
    options: program.options,
    operandCount: 0,
    pending: null,
    repository: undefined,
    optionsEnded: false,
  };
  for (const word of finished) line = readWord(line, program, word);
  return line;
}

function readWord(line: Line, program: Command, word: string): Line {
  if (line.pending !== null) {
    const repository = line.pending.long === '--repository' ? word : line.repository;
    return { ...line, pending: null, repository };
  }
  if (word === '--') return { ...line, optionsEnded: true };
  if (!line.optionsEnded && word.startsWith('-') && word !== '-') {
    const option = line.options.find((candidate) => candidate.short === word || candidate.long === word);
    return option?.required === true ? { ...line, pending: option } : line;
  }
  const child = line.operandCount === 0 ? visibleChild(line.command, word) : undefined;
  if (child === undefined) return { ...line, operandCount: line.operandCount + 1 };
  return { ...line, command: child, options: [...child.options, ...program.options] };
}

function next(line: Line, typed: string, names: Names): Completion {
  if (typed.startsWith('-') && !line.optionsEnded) {
    const shown = line.options.filter((option) => !option.hidden && option.long !== undefined);
    return shown.map((option) => ({ word: option.long ?? '', says: option.description }));
  }
  const children = visibleCommands(line.command);
  if (children.length > 0) {
    return line.operandCount > 0
      ? 'nothing'
      : children.map((child) => ({ word: child.name(), says: child.summary() || child.description() }));
  }
  const own = line.command.registeredArguments;
  const argument = own[line.operandCount] ?? (own.at(-1)?.variadic === true ? own.at(-1) : undefined);
  return argument === undefined ? 'nothing' : value(line, argument, typed, names);
}

/** The kind of a value is told by its name in the usage line, which is the same everywhere. */
function value(line: Line, wanted: Argument | Option, typed: string, names: Names): Completion {
  if (wanted.argChoices !== undefined) return wanted.argChoices.map((word) => ({ word, says: '' }));
  const kind = 'flags' in wanted ? (/[<[]([^>\].]+)/.exec(wanted.flags)?.[1] ?? '') : wanted.name();
  switch (kind) {
    case 'disk':
    case 'disks':
      return names.disks(line.repository);
    case 'revision':
    case 'from':
    case 'to':
      return names.revisions(line.repository, typed);
    case 'dir':
      return 'directories';
    case 'file':
    case 'plan':
    case 'spec':
    case 'target':
    case 'overlay':
      return 'files';
    default:
      return 'nothing';
  }
}

export function visibleCommands(command: Command): readonly Command[] {
  return command.createHelp().visibleCommands(command);
}

function visibleChild(command: Command, name: string): Command | undefined {
  return visibleCommands(command).find((child) => child.name() === name);
}
