/** What a server needs of a repository. */
import type { Image, Manifest, Piece, Survey } from '../../native/index.js';
import type { ImagePool } from '../image-pool.js';
import type { RevisionFacts } from '../inside.js';
import type { TreeRow } from '../listing.js';
import { type ImageExtent, makeWindow, windowExtents } from '../window.js';

export interface ServedRepository {
  /** Reads again what has changed; true when the listing is another one. */
  refresh(): Promise<boolean>;
  disks(): readonly string[];
  /** Of one disk, in the order of their sequence.
   *  @throws {CairnError} NO_SUCH_DISK */
  revisions(disk: string): readonly TreeRow[];
  /** Rows of a disk that were read under the same mark are the same; null where that cannot be told. */
  listingMark(disk: string): string | null;
  diskDir(disk: string): string;
  manifest(disk: string, revision: string): Manifest;
  openImage(disk: string, revision: string): Promise<Image>;
  /** Lets go of files whose space was given back meanwhile. */
  letGo?(): Promise<void>;
}

/** Looks at a revision's image for the tree. */
export async function loadFacts(
  repository: ServedRepository,
  images: ImagePool,
  disk: string,
  revision: string,
): Promise<RevisionFacts> {
  const manifest = repository.manifest(disk, revision);
  const { image, release } = await images.acquire(disk, revision);
  try {
    const survey = await surveyOf(image, manifest);
    const allocatedIn = await allocatedParts(image, survey);
    return {
      diskDir: repository.diskDir(disk),
      manifest,
      survey,
      sizeBytes: image.sizeBytes,
      allocatedBytes: image.allocatedBytes,
      allocatedIn,
    };
  } finally {
    release();
  }
}

/** Counts what is stored of every partition and volume. Where the block map is damaged, that stays unknown. */
async function allocatedParts(
  image: Image,
  { partitions, volumes }: Survey,
): Promise<(extent: ImageExtent) => number | undefined> {
  const pieces: Piece[] = partitions.map((partition) => ({ kind: 'linear', ...partition }));
  const counted = new Map<string, number>([
    [keyOf({ offsetBytes: 0, sizeBytes: image.sizeBytes }), image.allocatedBytes],
  ]);
  const count = async (extent: ImageExtent) =>
    counted.set(keyOf(extent), await image.allocatedIn(extent.offsetBytes, extent.sizeBytes));
  for (const piece of pieces.concat(...volumes.map((volume) => volume.pieces))) {
    try {
      await Promise.all(windowExtents(makeWindow([piece], image.sizeBytes)).map(count));
    } catch {
      // A window outside the image is not shown, with a sentence; a damaged map shows when it is read.
    }
  }
  return (extent) => counted.get(keyOf(extent));
}

function keyOf({ offsetBytes, sizeBytes }: ImageExtent): string {
  return `${offsetBytes}+${sizeBytes}`;
}

/** Where the table itself is damaged in the store, what the backup saw when it was taken still tells. */
export async function surveyOf(image: Image, { layout }: Manifest): Promise<Survey> {
  try {
    return await image.survey();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    const problem = `partitions are shown as they were seen when the revision was taken: ${reason}`;
    return { ...layout, problems: [...layout.problems, problem] };
  }
}
