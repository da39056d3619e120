"""A scene is rendered, reconstructed without one of its photos, and that photo is placed into the model.

    python pipelines/localize.py

With photos of your own: set `photos` and `new_photos`, and leave out the rendering.
"""

import tempfile
from pathlib import Path

from desdis_match.pipeline.localization import localize, pose_line
from desdis_match.pipeline.reconstruct import ReconstructConfig, reconstruct
from desdis_match.synthetic.courtyard import SyntheticConfig, render_scene

work = Path(tempfile.mkdtemp(prefix="localize-"))
photos, new_photos = work / "scene/images", work / "new photos"
output = work / "out"

render_scene(work / "scene", SyntheticConfig(views=6, size=(640, 480)))
new_photos.mkdir()
held_back = sorted(photos.iterdir())[2]
held_back.rename(new_photos / held_back.name)

reconstruct(ReconstructConfig(photos, output, quiet=True))
results = localize(output / "sparse/0", output / "features.h5", new_photos, work / "localized")

for result in results:
    print(f"{result.name}: {result.num_inliers} of {result.num_matches} matches agree {result.why}")
    if result.cam_from_world is not None:
        print(pose_line(result))
print(f"everything is in {work}")
