/** Which file system of a revision is meant. Pure. */
import { CairnError } from '../../base/errors.js';
import { visible } from '../../base/visible.js';
import type { FileSystem, Survey } from '../../native/index.js';
import { volumeStem } from '../inside.js';
import { isMountable } from './drivers.js';

export interface FilesSelector {
  readonly partition?: number | undefined;
  /** `group/name` */
  readonly volume?: string | undefined;
}

export interface Candidate {
  /** How a person names it: `--partition 2`, `--volume vg0/home`. */
  readonly option: string;
  /** Where its image lies in the revision's directory. */
  readonly path: string;
  readonly label: string | null;
  readonly fileSystem: FileSystem | null;
}

/** The one that `selector` names, or the only mountable one where it names none.
 *  @throws {CairnError} USAGE with what there is; `revision` names it for the message. */
export function chooseFileSystem(
  survey: Survey,
  selector: FilesSelector,
  revision: string,
): Candidate & { fileSystem: FileSystem } {
  const candidates = candidatesOf(survey);
  const named = optionOf(selector);
  const chosen =
    named === null ? onlyMountable(candidates) : candidates.find((each) => each.option === named);
  if (chosen === undefined) throw notChosen(candidates, named, revision);
  const { fileSystem } = chosen;
  if (fileSystem !== null && isMountable(fileSystem.kind)) return { ...chosen, fileSystem };
  const what =
    fileSystem === null ? 'no file system that is known here' : `${fileSystem.kind}, which cannot be mounted`;
  throw new CairnError('USAGE', `${chosen.option} of ${revision} holds ${what}.`, {
    hint: listOf(candidates),
  });
}

function candidatesOf(survey: Survey): Candidate[] {
  const partitions = survey.partitions.map(({ number, name, fileSystem }) => ({
    option: `--partition ${number}`,
    path: `by-number/${number}.img`,
    label: name || fileSystem?.label || null,
    fileSystem,
  }));
  const volumes = survey.volumes.map((volume) => ({
    option: `--volume ${volume.group}/${volume.name}`,
    path: `volumes/${volumeStem(volume)}.img`,
    label: volume.fileSystem?.label ?? null,
    fileSystem: volume.fileSystem,
  }));
  return [...partitions, ...volumes];
}

function optionOf({ partition, volume }: FilesSelector): string | null {
  if (partition !== undefined && volume !== undefined) {
    throw new CairnError('USAGE', 'Name a partition or a logical volume, not both.');
  }
  if (partition !== undefined) return `--partition ${partition}`;
  return volume === undefined ? null : `--volume ${volume}`;
}

function onlyMountable(candidates: readonly Candidate[]): Candidate | undefined {
  const mountable = candidates.filter(
    ({ fileSystem }) => fileSystem !== null && isMountable(fileSystem.kind),
  );
  return mountable.length === 1 ? mountable[0] : undefined;
}

function notChosen(candidates: readonly Candidate[], named: string | null, revision: string): CairnError {
  if (named !== null) {
    return new CairnError('USAGE', `${revision} has no ${visible(named).slice(2)}.`, {
      hint: listOf(candidates),
    });
  }
  const none = !candidates.some(({ fileSystem }) => fileSystem !== null && isMountable(fileSystem.kind));
  return new CairnError(
    'USAGE',
    none
      ? `${revision} holds no file system that can be mounted.`
      : `${revision} holds several file systems.`,
    { hint: none ? listOf(candidates) : `Name one: ${listOf(candidates)}` },
  );
}

function listOf(candidates: readonly Candidate[]): string {
  if (candidates.length === 0) return 'There is neither a partition nor a file system on it.';
  const words = candidates.map(({ option, label, fileSystem }) => {
    const kind = fileSystem?.kind ?? 'unknown';
    return `${visible(option)} (${label === null ? kind : `${visible(label, 40)}, ${kind}`})`;
  });
  return `${words.join('; ')}.`;
}
