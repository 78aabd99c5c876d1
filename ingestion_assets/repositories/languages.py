"""What is taken from the syntax of each language: its grammar's wheel, and a tree-sitter query.

Captures: `identifier`, `call` (the name that is called), `import` (a statement, see `import_statements`), `package`; every other one is
the kind of a symbol, whose name `extraction` finds in its fields. The nodes of one statement may be of several kinds: the first in
the query counts.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Language:
    """`grammar` is a function of `module`, which is imported where files are parsed only."""

    module: str
    query: str
    grammar: str = "language"


# Functions in variables stand last: before the constants, they made 100,000 constants of one statement take 12 s instead of 0.3 s.
_ECMASCRIPT = """
[(identifier) (property_identifier) (shorthand_property_identifier) (shorthand_property_identifier_pattern)] @identifier
(call_expression function: [(identifier) @call (member_expression property: (property_identifier) @call)])
(new_expression constructor: (identifier) @call)
(import_statement) @import
(export_statement source: (string)) @import
(call_expression function: [(identifier) (import)] arguments: (arguments . (string))) @import
[(function_declaration) (generator_function_declaration)] @function
(class_declaration) @class
(method_definition) @method
(program (lexical_declaration (variable_declarator name: (identifier)) @constant))
(program (export_statement (lexical_declaration (variable_declarator name: (identifier)) @constant)))
(variable_declarator name: (identifier) value: [(arrow_function) (function_expression) (generator_function)]) @function
"""
_TYPESCRIPT = f"""{_ECMASCRIPT}
(type_identifier) @identifier
[(function_signature)] @function
(abstract_class_declaration) @class
[(abstract_method_signature) (method_signature)] @method
(interface_declaration) @interface
(type_alias_declaration) @type
(enum_declaration) @enum
[(internal_module) (module)] @namespace
"""
_C = """
[(identifier) (field_identifier) (type_identifier)] @identifier
(call_expression function: [(identifier) @call (field_expression field: (field_identifier) @call)])
(preproc_include) @import
(function_definition) @function
(declaration declarator: (function_declarator)) @function
(declaration declarator: (pointer_declarator (function_declarator))) @function
(struct_specifier body: (_)) @struct
(union_specifier body: (_)) @union
(enum_specifier body: (_)) @enum
(type_definition) @type
[(preproc_def) (preproc_function_def)] @macro
(translation_unit (declaration declarator: (init_declarator)) @variable)
"""
LANGUAGES = {
    "python": Language("tree_sitter_python", """
        (identifier) @identifier
        (call function: [(identifier) @call (attribute attribute: (identifier) @call)])
        [(import_statement) (import_from_statement)] @import
        (function_definition) @function
        (class_definition) @class
        (type_alias_statement) @type
        (module (expression_statement (assignment left: (identifier)) @constant))
    """),
    "javascript": Language("tree_sitter_javascript", _ECMASCRIPT),
    "typescript": Language("tree_sitter_typescript", _TYPESCRIPT, "language_typescript"),
    "tsx": Language("tree_sitter_typescript", _TYPESCRIPT, "language_tsx"),
    "go": Language("tree_sitter_go", """
        [(identifier) (field_identifier) (type_identifier) (package_identifier)] @identifier
        (call_expression function: [(identifier) @call (selector_expression field: (field_identifier) @call)])
        (import_spec) @import
        (package_clause (package_identifier) @package)
        (function_declaration) @function
        (method_declaration) @method
        (type_spec type: (struct_type)) @struct
        (type_spec type: (interface_type)) @interface
        [(type_spec) (type_alias)] @type
        (source_file (const_declaration (const_spec) @constant))
        (source_file (var_declaration (var_spec) @variable))
        (source_file (var_declaration (var_spec_list (var_spec) @variable)))
    """),
    "rust": Language("tree_sitter_rust", """
        [(identifier) (field_identifier) (type_identifier)] @identifier
        (call_expression function: [
            (identifier) @call (field_expression field: (field_identifier) @call) (scoped_identifier name: (identifier) @call)])
        (macro_invocation macro: (identifier) @call)
        [(use_declaration) (extern_crate_declaration) (mod_item !body)] @import
        [(function_item) (function_signature_item)] @function
        (struct_item) @struct
        (enum_item) @enum
        (union_item) @union
        (trait_item) @trait
        (type_item) @type
        (macro_definition) @macro
        (mod_item body: (_)) @module
        [(const_item) (static_item)] @constant
    """),
    "java": Language("tree_sitter_java", """
        [(identifier) (type_identifier)] @identifier
        (method_invocation name: (identifier) @call)
        (object_creation_expression type: (type_identifier) @call)
        (import_declaration) @import
        (package_declaration [(identifier) (scoped_identifier)] @package)
        [(class_declaration) (record_declaration)] @class
        [(interface_declaration) (annotation_type_declaration)] @interface
        (enum_declaration) @enum
        [(method_declaration) (constructor_declaration) (compact_constructor_declaration)] @method
        (field_declaration) @field
    """),
    "php": Language("tree_sitter_php", """
        (name) @identifier
        (function_call_expression function: [(name) @call (qualified_name (name) @call)])
        (member_call_expression name: (name) @call)
        (nullsafe_member_call_expression name: (name) @call)
        (scoped_call_expression name: (name) @call)
        (object_creation_expression [(name) @call (qualified_name (name) @call)])
        [(namespace_use_declaration) (require_expression) (require_once_expression) (include_expression)
            (include_once_expression)] @import
        (namespace_definition name: (_) @package)
        (function_definition) @function
        (method_declaration) @method
        (class_declaration) @class
        (interface_declaration) @interface
        (trait_declaration) @trait
        (enum_declaration) @enum
        (const_element . (name) @constant)
    """, "language_php"),
    "c": Language("tree_sitter_c", _C),
    "cpp": Language("tree_sitter_cpp", f"""{_C}
        (namespace_identifier) @identifier
        (call_expression function: (qualified_identifier name: (identifier) @call))
        (class_specifier body: (_)) @class
        (field_declaration declarator: (function_declarator)) @method
        (alias_declaration) @type
        (namespace_definition) @namespace
    """),
    "ruby": Language("tree_sitter_ruby", """
        [(identifier) (constant) (instance_variable)] @identifier
        (call method: (identifier) @call)
        (call !receiver method: (identifier) arguments: (argument_list . (string))) @import
        [(method) (singleton_method)] @method
        (class) @class
        (module) @module
        (assignment left: (constant)) @constant
    """),
    "csharp": Language("tree_sitter_c_sharp", """
        (identifier) @identifier
        (invocation_expression function: [(identifier) @call (member_access_expression name: (identifier) @call)])
        (object_creation_expression type: (identifier) @call)
        (using_directive) @import
        [(namespace_declaration name: (_) @package) (file_scoped_namespace_declaration name: (_) @package)]
        [(class_declaration) (record_declaration)] @class
        (struct_declaration) @struct
        (interface_declaration) @interface
        (enum_declaration) @enum
        (delegate_declaration) @type
        [(method_declaration) (constructor_declaration)] @method
        (property_declaration) @property
    """),
    "kotlin": Language("tree_sitter_kotlin", """
        (identifier) @identifier
        (call_expression . [(identifier) @call (navigation_expression (identifier) @call .)])
        (import) @import
        (package_header (_) @package)
        (function_declaration) @function
        (class_declaration) @class
        (object_declaration) @object
        (type_alias type: (identifier) @type)
        (source_file (property_declaration (variable_declaration (identifier) @constant)))
    """),
    "bash": Language("tree_sitter_bash", """
        (variable_name) @identifier
        (command_name (word) @identifier)
        (function_definition name: (word) @identifier)
        (command_name (word) @call)
        (command name: (command_name (word)) . argument: (_)) @import
        (function_definition) @function
        (program (variable_assignment name: (variable_name)) @variable)
    """),
}  # fmt: skip
