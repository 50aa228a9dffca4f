"""Imports lead to files, in every language that is read for them."""

import pytest

from infill_ls.completion.workspace.imports import Paths, imported

PATHS = Paths(
    [
        *("/r/app/main.py", "/r/app/models.py", "/r/app/db/__init__.py", "/r/app/db/tables.py"),
        *("/r/lib/models.py", "/r/app/sub/other.py", "/r/vendored/deep/app/models.py"),
        *("/r/web/main.ts", "/r/web/io.ts", "/r/web/ui/index.tsx", "/r/src/store.js"),
        *("/r/go/cmd/main.go", "/r/go/pkg/store/a.go", "/r/go/pkg/store/b.go"),
        *("/r/rs/src/lib.rs", "/r/rs/src/net.rs", "/r/rs/src/net/tcp.rs", "/r/rs/src/io/mod.rs"),
        *("/r/j/src/a/b/Order.java", "/r/j/src/a/b/Main.java", "/r/j/src/a/Util.java"),
        *("/r/c/src/main.c", "/r/c/src/queue.h", "/r/c/include/lib/list.h"),
    ]
)


@pytest.mark.parametrize(
    ("path", "language", "text", "expected"),
    [
        ("/r/app/main.py", "python", "from . import models", ["/r/app/models.py"]),
        ("/r/app/main.py", "python", "from .db.tables import Table", ["/r/app/db/tables.py"]),
        (
            "/r/app/main.py",
            "python",
            "from app.db import (\n    tables,\n    Session,\n)",
            ["/r/app/db/tables.py", "/r/app/db/__init__.py"],
        ),
        ("/r/app/sub/other.py", "python", "from ..models import A", ["/r/app/models.py"]),
        ("/r/app/main.py", "python", "import app.models as m, os", ["/r/app/models.py"]),
        ("/r/app/main.py", "python", "import main", []),  # itself
        ("/r/app/main.py", "python", "import json\nx = 'import models'", []),
        ("/r/web/main.ts", "typescript", 'import { read } from "./io.js";', ["/r/web/io.ts"]),
        ("/r/web/main.ts", "typescript", "const ui = require('./ui')", ["/r/web/ui/index.tsx"]),
        ("/r/web/main.ts", "typescript", 'import store from "@/store"', ["/r/src/store.js"]),
        ("/r/web/main.ts", "typescript", 'import "react"', []),
        (
            "/r/go/cmd/main.go",
            "go",
            'import (\n\t"fmt"\n\tst "example.com/x/pkg/store"\n)',
            ["/r/go/pkg/store/a.go", "/r/go/pkg/store/b.go"],
        ),
        ("/r/rs/src/lib.rs", "rust", "pub mod net;\nmod io;", [
            "/r/rs/src/net.rs", "/r/rs/src/io/mod.rs",
        ]),
        ("/r/rs/src/net.rs", "rust", "mod tcp;", ["/r/rs/src/net/tcp.rs"]),
        ("/r/rs/src/lib.rs", "rust", "use crate::net::tcp::Stream;", ["/r/rs/src/net/tcp.rs"]),
        ("/r/j/src/a/b/Main.java", "java", "import a.b.Order;", ["/r/j/src/a/b/Order.java"]),
        ("/r/j/src/a/b/Main.java", "java", "import static a.Util.max;", ["/r/j/src/a/Util.java"]),
        (
            "/r/c/src/main.c",
            "c",
            '#include "queue.h"\n# include <lib/list.h>\n#include <stdio.h>',
            ["/r/c/src/queue.h", "/r/c/include/lib/list.h"],
        ),
        ("/r/x.rb", "ruby", 'require "models"', []),
    ],
)  # fmt: skip
def test_imports_lead_to_files(path: str, language: str, text: str, expected: list[str]) -> None:
    assert imported(text, path, language, PATHS) == expected


def test_of_several_files_of_a_name_the_nearest_is_meant() -> None:
    assert imported("import models", "/r/lib/a.py", "python", PATHS) == ["/r/lib/models.py"]
    assert imported("import models", "/r/app/a.py", "python", PATHS) == ["/r/app/models.py"]
