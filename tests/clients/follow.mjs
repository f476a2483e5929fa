// Three clients of npm follow the streams as their documentation shows; each event is one line of JSON.
//   node follow.mjs URL KEY
import { fetchEventSource } from "@microsoft/fetch-event-source";
import polyfill from "event-source-polyfill";
import { EventSource } from "eventsource";

globalThis.window = globalThis; // fetch-event-source was written for browsers

const [url, key] = process.argv.slice(2);
const tell = (client, event, data, id) => console.log(JSON.stringify({ client, event, id, data: JSON.parse(data) }));

function listen(client, source, names) {
  for (const name of names) source.addEventListener(name, (e) => tell(client, name, e.data, e.lastEventId));
  source.onmessage = (e) => console.log(JSON.stringify({ client, event: "message", id: "", data: e.data }));
  source.onerror = (e) => console.error(client, e.message ?? e.type);
}

const follow = (client, source) =>
  fetchEventSource(source.url, {
    headers: source.headers ?? {},
    openWhenHidden: true,
    onmessage: (ev) => tell(client, ev.event, ev.data, ev.id),
    onerror: (err) => console.error(client, err.message),
  });

const texts = ["connected", "sms_received", "replay.reset", "replay.truncated"];
const events = ["sms.received", "voice.completed", "replay.reset", "replay.truncated"];
const bearer = { headers: { Authorization: `Bearer ${key}` } };

listen("eventsource sms", new EventSource(`${url}/api/v1/sms/stream?token=${key}`), texts);
listen("polyfill sms", new polyfill.EventSourcePolyfill(`${url}/api/v1/sms/stream`, bearer), texts);
follow("fetch-event-source sms", { url: `${url}/api/v1/sms/stream`, ...bearer });

listen("eventsource events", new EventSource(`${url}/api/events?token=${key}&channels=sms,voice`), events);
listen("polyfill events", new polyfill.EventSourcePolyfill(`${url}/api/events?token=${key}&channels=sms,voice`), events);
follow("fetch-event-source events", { url: `${url}/api/events?token=${key}&channels=sms,voice` });
