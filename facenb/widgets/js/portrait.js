// Figure "portrait": a photo, and beside it the face that was found in it, turned and lit by the reader.

import { button, choice, group, row } from "./controls.js";
import { FaceStage } from "./face_stage.js";
import { Frame } from "./frame.js";
import { lampControls } from "./lamp_controls.js";

const LOOKS = { photo: "own skin", clay: "clay", normals: "normals", checker: "(u, v) checker" };

export async function portrait({ model, el, face }) {
  const [photo, skin] = await Promise.all(["photo", "skin"].map((k) => picture(model.get(k))));
  const frame = new Frame(el, { wide: true });
  let look = "photo";
  frame.stage(model.get("photo_alt"), (context, width, height) => context.drawImage(photo, 0, 0, width, height), {
    ratio: photo.naturalWidth / photo.naturalHeight, caption: "the photo", most: 430,
  });
  const stage = new FaceStage(frame, model, face, {
    label: "The face of the photo in three dimensions", caption: "the face in it: turn it", most: 430,
    look: () => ({ look }),
  });
  stage.prepare = (surface) => surface.setPhoto(skin);
  stage.prepare(stage.surface);
  const start = [...model.get("pose")];
  const pose = (goal) => {
    const from = [...model.get("pose")];
    frame.animate((t) => {
      model.set("pose", goal.map((x, i) => (1 - t) * from[i] + t * x));
      model.save_changes();
    });
  };
  frame.panel.append(
    lampControls(frame, model).box,
    group("Face",
      row(choice(frame, "Surface", LOOKS, look, (v) => { look = v; frame.invalidate(stage.canvas); }),
        button(frame, "as in the photo", () => pose(start)),
        button(frame, "straight ahead", () => pose([0, 0, 0])),
        button(frame, "to the side", () => pose([0.9, 0.05, 0])))),
  );
  return () => { frame.free(); stage.free(); };
}

async function picture(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  return image;
}
