import pytest

from dowse.mine.licences import is_permissive, is_relevant, licence_of, spdx

MIT = """The MIT License (MIT)

Copyright (c) 2010 A Person <person@example.org>

Permission is hereby granted, free of charge, to any person obtaining
a copy of this software and associated documentation files, to deal in it.

The above copyright notice and this permission notice shall be included in
all copies or substantial portions of the Software.
"""
BSD3 = """Copyright 2011 The Authors. All rights reserved.

Redistribution and use in source and binary forms, with or without
modification, are permitted provided that the following conditions are met:

   * Neither the name of Somebody Inc. nor the names of its contributors may be used to
     endorse or promote products derived from this software without specific permission.
"""
BSD2 = BSD3.partition("   *")[0]


def of(**files: str) -> str:
    return licence_of({name.replace("__", "-").replace("_", "."): text.encode() for name, text in files.items()})


@pytest.mark.parametrize(
    ("name", "text", "licence"),
    [
        ("LICENSE", MIT, "MIT"),
        ("MIT-LICENSE", MIT, "MIT"),
        ("LICENSE.txt", BSD3, "BSD-3-Clause"),
        ("COPYING", BSD2, "BSD-2-Clause"),
        ("LICENSE", f"{MIT}\n\nPortions:\n{BSD3}", "BSD-3-Clause AND MIT"),
        ("LICENSE", f"{MIT}\nThe Software shall be used for Good, not Evil.", ""),
        ("LICENSE", f'"Commons Clause" License Condition\n{MIT}', ""),
        ("LICENSE", "All rights reserved.", ""),
        ("LICENSE", "                    GNU GENERAL PUBLIC LICENSE\n  Version 3, 29 June 2007\n", "GPL-3.0"),
        ("UNLICENSE", "This is free and unencumbered software released into the public domain.\n", "Unlicense"),
        ("package.json", '{"license": "ISC"}', "ISC"),
        ("package.json", '{"license": {"type": "MIT", "url": "x"}}', "MIT"),
        ("package.json", '{"license": "SEE LICENSE IN x"}', ""),
        ("package.json", "[not json", ""),
        pytest.param("package.json", "[" * 100_000, "", id="deep"),
        ("composer.json", '{"license": ["MIT", "GPL-2.0-only"]}', "MIT OR GPL-2.0-only"),
        ("pyproject.toml", '[project]\nlicense = "Apache-2.0"\n', "Apache-2.0"),
        ("pyproject.toml", '[project]\nlicense = {text = "MIT License"}\n', "MIT"),
        ("pyproject.toml", '[project]\nclassifiers = ["License :: OSI Approved :: MIT License"]\n', "MIT"),
        ("pyproject.toml", '[tool.poetry]\nlicense = "MIT"\n', "MIT"),
        ("setup.cfg", "[metadata]\nlicense = BSD-3-Clause\n", "BSD-3-Clause"),
        ("setup.py", "setup(\n    license='GPLv3',\n)", "GPL-3.0"),
        ("setup.py", "setup(\n    name='a',\n    license='MIT',\n)\n", "MIT"),
        ("Cargo.toml", '[package]\nlicense = "MIT/Apache-2.0"\n', "MIT OR Apache-2.0"),
        ("Cargo.toml", '[workspace.package]\nlicense = "MIT OR Apache-2.0"\n', "MIT OR Apache-2.0"),
        ("kit.gemspec", 'Gem::Specification.new do |s|\n  s.licenses = ["MIT", "Ruby"]\nend\n', "MIT OR Ruby"),
        ("pom.xml", "<licenses><license><name>Apache License, Version 2.0</name></license></licenses>", "Apache-2.0"),
    ],
)
def test_a_licence_is_told_from_a_file(name, text, licence):
    assert is_relevant(name)
    assert licence_of({name: text.encode()}) == licence


def test_a_stated_licence_comes_before_texts_and_texts_named_for_it_are_a_choice():
    assert of(LICENSE=BSD3, package_json='{"license": "MIT"}') == "MIT"
    assert of(LICENSE=BSD3, package_json='{"name": "x"}') == "BSD-3-Clause"
    assert licence_of({"LICENSE-MIT": MIT.encode(), "LICENSE-BSD": BSD3.encode()}) == "BSD-3-Clause OR MIT"
    assert licence_of({"LICENSE": MIT.encode(), "COPYING": BSD3.encode()}) == "BSD-3-Clause AND MIT"
    assert licence_of({}) == ""


OWN = "Copyright A Company. All rights reserved. No part of it may be copied. Third parties: LICENSE.third-party."


@pytest.mark.parametrize(
    ("files", "licence"),
    [
        ({"LICENSE": OWN, "LICENSE.third-party": MIT}, ""),
        ({"LICENSE.txt": f"Commons Clause\n{MIT}", "LICENSE-vendored": MIT}, ""),
        ({"COPYING": OWN, "LICENSE-3RD-PARTY.txt": MIT}, ""),
        ({"LICENSE": OWN, "COPYING": MIT}, ""),
        ({"LICENSE": MIT, "LICENSE.third-party": OWN}, "MIT"),
        ({"LICENSE": MIT, "COPYING": "This is free software, see LICENSE."}, "MIT"),
        ({"LICENSE": MIT, "COPYING.LESSER": "A note."}, "MIT"),
        ({"LICENSE": "", "LICENSE.MIT": MIT}, "MIT"),
        ({"LICENSE": "See COPYING.", "COPYING": MIT}, "MIT"),
        (
            {"LICENSE": "Either LICENSE.MIT or LICENSE.BSD.", "LICENSE.MIT": MIT, "LICENSE.BSD": BSD2},
            "BSD-2-Clause AND MIT",
        ),
        ({"LICENSE": MIT, "package.json": '{"license": "UNLICENSED"}'}, ""),
        ({"LICENSE": MIT, "pyproject.toml": '[tool.poetry]\nlicense = "Proprietary"\n'}, ""),
        ({"LICENSE": MIT, "package.json": '{"license": "SEE LICENSE IN LICENSE"}'}, "MIT"),
        ({"LICENSE": BSD3, "setup.py": "setup(\n    license='BSD3',\n)"}, "BSD-3-Clause"),
        ({"LICENSE": MIT, "setup.py": "setup(\n    license='v2',\n)"}, "MIT"),
        ({"LICENSE": MIT, "METADATA": "License: Proprietary\n"}, ""),
        ({"LICENSE": MIT, "METADATA": "Classifier: License :: Other/Proprietary License\n"}, ""),
        ({"METADATA": "Classifier: License :: OSI Approved :: MIT License\nClassifier: License :: GPLv9\n"}, ""),
        ({"METADATA": "License: " + MIT.replace("\n", "\n        ") + "\n"}, "MIT"),
        ({"METADATA": "Name: kit\n\nLicense: MIT\n"}, ""),
        ({"package.json": '{"license": "UNLICENSED"}', "pyproject.toml": '[project]\nlicense = "MIT"\n'}, "MIT"),
    ],
)
def test_no_text_speaks_in_place_of_a_main_one_that_is_unknown_or_of_a_refusal(files, licence):
    assert licence_of({name: text.encode() for name, text in files.items()}) == licence


@pytest.mark.parametrize(
    ("expression", "permissive"),
    [
        ("MIT", True),
        ("mit", True),
        ("GPL-3.0-only", False),
        ("", False),
        ("MIT AND GPL-3.0", False),
        ("MIT OR GPL-3.0", True),
        ("MIT OR GPL-3.0 AND LGPL-2.1", True),
        ("(MIT OR GPL-3.0) AND LGPL-2.1", False),
        ("(MIT OR GPL-3.0) AND (BSD-3-Clause OR MPL-2.0)", True),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("GPL-2.0 WITH Classpath-exception-2.0", False),
        ("LicenseRef-own", False),
        ("MIT OR (", True),
    ],
)
def test_permissive_expressions_are_told_from_others(expression, permissive):
    assert is_permissive(expression) is permissive


def test_what_people_write_becomes_spdx_or_nothing():
    assert spdx("BSD License") == "BSD-3-Clause"
    assert [spdx(word) for word in ("PostgreSQL", "HPND", "bsd-3-clause", "GPL-2.0+")] == [
        "PostgreSQL",
        "HPND",
        "BSD-3-Clause",
        "GPL-2.0+",
    ]
    assert spdx("GPL-2.0 WITH Classpath-exception-2.0") == "GPL-2.0 WITH Classpath-exception-2.0"
    assert [spdx(word) for word in ("v2", "BSD3", "MIT GPL-2.0", "MIT OR", "OR", "")] == [""] * 6
    assert spdx("(MIT OR Apache-2.0)") == "MIT OR Apache-2.0"
    assert spdx("Copyright me, all rights reserved") == ""
    assert not is_relevant("src.py")
