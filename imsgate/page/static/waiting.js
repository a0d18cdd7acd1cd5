// Waiting between two attempts.

/** Waits; ends early when the network comes back. Throws AbortError. */
export function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const end = (settle, value) => {
      clearTimeout(timer);
      removeEventListener("online", online);
      signal.removeEventListener("abort", abort);
      settle(value);
    };
    const online = () => end(resolve);
    const abort = () => end(reject, signal.reason);
    const timer = setTimeout(online, ms);
    addEventListener("online", online);
    signal.addEventListener("abort", abort);
    if (signal.aborted) abort();
  });
}
