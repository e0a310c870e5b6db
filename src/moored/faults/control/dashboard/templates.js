// A fault of each kind to begin with, which can be struck or armed as it is, and shows.

const EXAMPLES = {
  cut: { after_messages: 3 },
  stall: { after_messages: 3 },
  comments_only: { after_messages: 3 },
  close_frame: { after_messages: 3, code: 1012 },
  refuse: { status: 503 },
  latency: { latency: 1 },
  bandwidth: { rate: 100 },
  slicer: { delay: 0.05 },
  slow_close: { delay: 3 },
  corrupt: { share: 0.05 },
};

export const template = (kind) => ({ fault: kind, ...EXAMPLES[kind] });
