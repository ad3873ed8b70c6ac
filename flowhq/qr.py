"""A pairing code as a picture: a PNG data URL for pages, half blocks for a terminal."""

import base64
import io

import qrcode
from qrcode.image.pure import PyPNGImage


def png_data_url(text: str) -> str:
    """``data:image/png;base64,...`` of the code; takes tens of ms of CPU, so run it in a thread."""
    code = qrcode.QRCode(border=4, box_size=6, error_correction=qrcode.constants.ERROR_CORRECT_L)
    code.add_data(text)
    picture = io.BytesIO()
    code.make_image(image_factory=PyPNGImage).save(picture)
    return "data:image/png;base64," + base64.b64encode(picture.getvalue()).decode("ascii")


def terminal(text: str) -> str:
    """The code in half blocks, dark on light whatever the terminal's colours are."""
    code = qrcode.QRCode(border=2, error_correction=qrcode.constants.ERROR_CORRECT_L)
    code.add_data(text)
    rows = code.get_matrix()
    if len(rows) % 2:
        rows.append([False] * len(rows[0]))
    blocks = {(True, True): "█", (True, False): "▀", (False, True): "▄", (False, False): " "}
    lines = (
        "".join(blocks[bool(upper), bool(lower)] for upper, lower in zip(top, bottom, strict=True))
        for top, bottom in zip(rows[::2], rows[1::2], strict=True)
    )
    return "\n".join(f"\x1b[30;107m{line}\x1b[0m" for line in lines)
