// What the scripts of the page hand to each other: the data that desdis_match/page writes, and what is not
// declared where it is used. The scripts are joined to one, so all of it is global.

type Pair2 = [number, number];
type Vector = [number, number, number];

/** A camera of a model; lengths in pixels, the field of view in degrees. */
interface CameraData {
  id: number;
  model: string;
  width: number;
  height: number;
  focal: number | null;
  field: number | null;
  params: Record<string, number>;
}

/** A photo of the run. What a pose brings comes and goes with the model in use. */
interface PhotoData {
  name: string;
  width: number;
  height: number;
  keypoints: number;
  points: number;
  pairs: number;
  matches: number;
  verified: number;
  /** Number of the model that it is in, -1 for none. */
  model: number;
  reason: string;
  unusable?: boolean;
  /** Size of the copy in the page. */
  photo?: Pair2;
  turn?: number;
  registered?: boolean;
  row?: number;
  center?: number[];
  rotation?: number[];
  half?: number[];
  camera?: CameraData;
}

/** A model: its numbers, and rows of poses. */
interface ModelData {
  /** N of sparse/N. */
  number: number;
  registered: number;
  points: number;
  observations: number;
  track_length: number;
  reprojection_error: number;
  /** Rows of `Meta.images`, and for each of them the pose. */
  images: number[];
  centers: number[][];
  rotations: number[][];
  halves: number[][];
  camera: number[];
  cameras: CameraData[];
  /** Pixels a step of point-errors. */
  error_step: number;
  middle: number[];
  radius: number;
  far: number;
  num_far: number;
  up: number[];
  metres: boolean;
}

/** Columns of the shown pairs, the strongest first. */
interface PairsData {
  kinds: string[];
  total: number;
  num_verified: number;
  image0: number[];
  image1: number[];
  matches: number[];
  /** -1 where nothing was verified yet. */
  verified: number[];
  /** Matches of one point of the model. */
  in_model: number[];
  kind: number[];
  shown: number[];
}

interface ReportData {
  diagnosis: string | null;
  found_out: string[];
  attempts: string[][];
  versions: Record<string, string>;
  config: Record<string, any>;
  stages: { name: string; seconds: string; memory: string }[];
}

interface Meta {
  title: string;
  report: ReportData;
  refresh: number;
  images: PhotoData[];
  pairs: PairsData;
  left_out: string;
  models: ModelData[];
  notes: string[];
  /** The model that is shown first. */
  first: number;
  /** The model in use. */
  index?: number;
  model?: ModelData | null;
}

/** A column of a Table over rows, which are numbers. */
interface Column {
  head: string;
  title?: string;
  text?: boolean;
  className?: string;
  value?: (row: number) => any;
  cell: (row: number) => any;
}

/** From pointers.js. */
interface ModelView {
  listenToPointers(): void;
  click(x: number, y: number): void;
  roll(): void;
  key(event: KeyboardEvent): boolean;
}

/** From measuring.js. */
interface ModelView {
  setMeasuring(on: boolean): void;
  setMeasured(places: number[][]): void;
  sayMeasured(): void;
  measuredText(): string;
  pointAt(x: number, y: number): number[] | null;
}

/** From playing.js. */
interface ModelView {
  play(): void;
  stop(): void;
  snapshot(): HTMLCanvasElement;
  savePicture(): void;
}

interface Uint8ArrayConstructor {
  /** In browsers from 2025 on. */
  fromBase64?(text: string): Uint8Array;
}
