"""Tables of the C family and its neighbours: Python, JavaScript, TypeScript, Java, Go, Rust, C, C++ and C#."""

from __future__ import annotations

from dataclasses import replace

from dowse.languages.language import IN_A_CLASS, Language, kinds

PYTHON = Language(
    "python",
    extensions=(".py", ".pyi", ".pyw", ".pyx"),
    filenames=("sconstruct", "sconscript", "wscript"),
    interpreters=("python", "pypy"),
    grammar=("tree_sitter_python", "language"),
    functions=kinds("function_definition"),
    classes=kinds("class_definition"),
    transparent=kinds(
        "decorated_definition block if_statement elif_clause else_clause try_statement except_clause finally_clause "
        "with_statement match_statement case_clause"
    ),
    leading=kinds("decorator"),
    calls=kinds("call"),
    names={"call": "function", "attribute": None, "decorator": 0},
    docstrings=True,
)

JAVASCRIPT = Language(
    "javascript",
    extensions=(".js", ".jsx", ".mjs", ".cjs", ".es6"),
    filenames=("jakefile",),
    interpreters=("node", "nodejs", "bun"),
    grammar=("tree_sitter_javascript", "language"),
    wrappers=IN_A_CLASS,
    functions=kinds("function_declaration generator_function_declaration method_definition"),
    classes=kinds("class_declaration"),
    bindings={
        "variable_declarator": ("name", "value"),
        "assignment_expression": ("left", "right"),
        "field_definition": ("property", "value"),
        "public_field_definition": ("name", "value"),
        "pair": ("key", "value"),
        "export_statement": (None, "value"),
    },
    values={
        "arrow_function": "function",
        "function_expression": "function",
        "generator_function": "function",
        "class": "class",
        "object": "object",
    },
    value_wrappers=kinds(
        "call_expression arguments as_expression satisfies_expression parenthesized_expression "
        "await_expression non_null_expression"
    ),
    transparent=kinds(
        "export_statement lexical_declaration variable_declaration expression_statement class_body "
        "statement_block ambient_declaration internal_module module if_statement else_clause"
    ),
    comments=kinds("comment html_comment hash_bang_line"),
    leading=kinds("decorator"),
    calls=kinds("call_expression new_expression"),
    names={
        "call_expression": "function",
        "new_expression": "constructor",
        "member_expression": None,
    },
    doc_comments=("/**",),
)

TYPESCRIPT = replace(
    JAVASCRIPT,
    name="typescript",
    extensions=(".ts", ".mts", ".cts"),
    filenames=(),
    interpreters=("deno", "ts-node", "tsx"),
    grammar=("tree_sitter_typescript", "language_typescript"),
    chained=b"<",
    functions=JAVASCRIPT.functions | {"function_signature"},
    classes=JAVASCRIPT.classes
    | kinds("abstract_class_declaration interface_declaration type_alias_declaration enum_declaration"),
)

TSX = replace(
    TYPESCRIPT,
    name="tsx",
    extensions=(".tsx",),
    interpreters=(),
    grammar=("tree_sitter_typescript", "language_tsx"),
)

JAVA = Language(
    "java",
    extensions=(".java", ".jav"),
    interpreters=("java", "jbang"),
    grammar=("tree_sitter_java", "language"),
    wrappers=IN_A_CLASS,
    chained=b"<=",
    functions=kinds("method_declaration constructor_declaration compact_constructor_declaration"),
    classes=kinds(
        "class_declaration interface_declaration enum_declaration record_declaration annotation_type_declaration"
    ),
    transparent=kinds("class_body interface_body enum_body enum_body_declarations"),
    comments=kinds("line_comment block_comment"),
    calls=kinds("method_invocation object_creation_expression"),
    names={"object_creation_expression": "type", "scoped_type_identifier": None, "generic_type": 0},
    doc_comments=("/**", "///"),
)

GO = Language(
    "go",
    extensions=(".go",),
    grammar=("tree_sitter_go", "language"),
    functions=kinds("function_declaration method_declaration"),
    classes=kinds("type_spec type_alias"),
    bindings={"var_spec": (0, "value"), "const_spec": (0, "value")},
    values={"func_literal": "function"},
    value_wrappers=kinds("expression_list"),
    transparent=kinds("type_declaration var_declaration var_spec_list"),
    calls=kinds("call_expression"),
    names={
        "call_expression": "function",
        "selector_expression": None,
        "parameter_list": 0,
        "parameter_declaration": "type",
        "pointer_type": 0,
        "generic_type": "type",
    },
    owners={"method_declaration": "receiver"},
)

RUST = Language(
    "rust",
    extensions=(".rs",),
    grammar=("tree_sitter_rust", "language"),
    functions=kinds("function_item"),
    classes=kinds("struct_item enum_item union_item trait_item impl_item macro_definition type_item"),
    transparent=kinds("declaration_list mod_item foreign_mod_item"),
    comments=kinds("line_comment block_comment"),
    leading=kinds("attribute_item"),
    calls=kinds("call_expression macro_invocation"),
    names={
        "impl_item": "type",
        "generic_type": "type",
        "reference_type": "type",
        "call_expression": "function",
        "generic_function": "function",
        "field_expression": "field",
        "macro_invocation": "macro",
        "scoped_identifier": None,
        "scoped_type_identifier": "name",
    },
    doc_comments=("///", "/**"),
)

C = Language(
    "c",
    extensions=(".c", ".h"),
    grammar=("tree_sitter_c", "language"),
    chained=b"=?",
    functions=kinds("function_definition"),
    classes=kinds("struct_specifier union_specifier enum_specifier type_definition preproc_function_def"),
    bodied=kinds("struct_specifier union_specifier enum_specifier"),
    transparent=kinds(
        "preproc_if preproc_ifdef preproc_elif preproc_elifdef preproc_else linkage_specification declaration_list"
    ),
    calls=kinds("call_expression"),
    names={
        "function_definition": "declarator",
        "type_definition": "declarator",
        "function_declarator": "declarator",
        "pointer_declarator": "declarator",
        "array_declarator": "declarator",
        "init_declarator": "declarator",
        "attributed_declarator": 0,
        "parenthesized_declarator": 0,
        "call_expression": "function",
        "field_expression": "field",
    },
)

CPP = replace(
    C,
    name="cpp",
    extensions=(".cpp", ".cc", ".cxx", ".c++", ".hpp", ".hh", ".hxx", ".h++", ".ipp", ".inl", ".tpp", ".txx", ".ino"),
    grammar=("tree_sitter_cpp", "language"),
    classes=C.classes | {"class_specifier", "alias_declaration", "concept_definition"},
    bodied=C.bodied | {"class_specifier"},
    bindings={"init_declarator": ("declarator", "value")},
    values={"lambda_expression": "function"},
    transparent=C.transparent
    | {"namespace_definition", "template_declaration", "declaration", "field_declaration_list"},
    leading=kinds("template_parameter_list requires_clause"),
    calls=C.calls | {"new_expression"},
    names={
        **C.names,
        "reference_declarator": 0,
        "operator_cast": None,
        "qualified_identifier": None,
        "template_function": "name",
        "template_type": "name",
        "new_expression": "type",
    },
)

CSHARP = Language(
    "csharp",
    extensions=(".cs", ".csx"),
    grammar=("tree_sitter_c_sharp", "language"),
    wrappers=IN_A_CLASS,
    chained=b"<",
    functions=kinds(
        "method_declaration constructor_declaration destructor_declaration operator_declaration "
        "conversion_operator_declaration local_function_statement"
    ),
    properties=kinds("property_declaration indexer_declaration event_declaration"),
    classes=kinds(
        "class_declaration struct_declaration interface_declaration record_declaration enum_declaration "
        "delegate_declaration"
    ),
    transparent=kinds("namespace_declaration declaration_list global_statement preproc_if preproc_elif preproc_else"),
    leading=kinds("attribute_list"),
    calls=kinds("invocation_expression object_creation_expression"),
    names={
        "invocation_expression": "function",
        "object_creation_expression": "type",
        "member_access_expression": None,
        "operator_declaration": "operator",
        "conversion_operator_declaration": "type",
        "generic_name": 0,
    },
    unnamed={"indexer_declaration": "this"},
    doc_comments=("///", "/**"),
)

CODE: tuple[Language, ...] = (PYTHON, JAVASCRIPT, TYPESCRIPT, TSX, JAVA, GO, RUST, C, CPP, CSHARP)
