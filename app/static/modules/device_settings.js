// What the user wants besides the badge: a sound, and desktop notifications.

/** The user's settings, kept by the browser for all tabs of a site. */
export class DeviceSettings {
  /** @param {"sound" | "desktop"} name */
  static has(name) {
    try {
      return localStorage.getItem(`belfry.${name}`) === "yes";
    } catch {
      return false; // storage is blocked
    }
  }

  /** @param {"sound" | "desktop"} name @param {boolean} wanted */
  static set(name, wanted) {
    try {
      localStorage.setItem(`belfry.${name}`, wanted ? "yes" : "no");
    } catch {
      // storage is blocked: the setting lasts as long as the page
    }
  }
}

/** Play two notes of a bell, synthesized. @returns {boolean} false: it can't be done here */
export function chime() {
  try {
    play(new AudioContext());
    return true;
  } catch {
    return false;
  }
}

/** @param {AudioContext} audio */
function play(audio) {
  const notes = [880, 1_318.5];
  notes.forEach((frequency, at) => {
    const start = audio.currentTime + at * 0.12;
    const note = new OscillatorNode(audio, { frequency });
    const volume = new GainNode(audio, { gain: 0 });
    volume.gain.setValueAtTime(0.15, start);
    volume.gain.exponentialRampToValueAtTime(0.001, start + 0.5);
    note.connect(volume).connect(audio.destination);
    note.start(start);
    note.stop(start + 0.5);
  });
  setTimeout(() => audio.close(), 1_000);
}

/** Whether the browser has desktop notifications and the user allowed them; null: the user was not asked. */
export function mayNotify() {
  const { Notification } = globalThis;
  if (!Notification) return false;
  return Notification.permission === "default" ? null : Notification.permission === "granted";
}

/** Have the browser ask the user. */
export async function askToNotify() {
  try {
    await Notification.requestPermission();
  } catch {
    // it can't ask here: the permission stays as it is
  }
}
